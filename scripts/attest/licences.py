"""Which licences a wheel says that it is under. https://packaging.python.org/en/latest/specifications/core-metadata/"""

from __future__ import annotations

from email.parser import BytesHeaderParser
from pathlib import Path

from scripts.errors import Undecided
from scripts.zips import ZipReader

_LARGEST = 1 << 22  # bytes of METADATA: some carry a whole manual
_LONGEST = 100  # characters: longer ones are texts of licences, not names
_CLASSIFIER = "License :: "


def read_licences(wheel: Path) -> tuple[str, ...]:
    """The licence expression of a wheel's METADATA, or else its licence field, or its classifiers; none where there is
    none, or where the file is not there or cannot be read."""
    try:
        archive = ZipReader(wheel)
        names = [name for name in archive.members if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
        if len(names) != 1:
            return ()
        fields = BytesHeaderParser().parsebytes(bytes(archive.read(archive.members[names[0]], _LARGEST)))
    except (OSError, Undecided):
        return ()
    for name in ("License-Expression", "License"):
        text = str(fields.get(name, "")).strip()
        if text and text.upper() != "UNKNOWN" and len(text) <= _LONGEST and "\n" not in text:
            return (text,)
    classifiers = (str(text) for text in fields.get_all("Classifier", ()))
    return tuple(sorted({text.rpartition(" :: ")[2] for text in classifiers if text.startswith(_CLASSIFIER)}))
