"""The names and the bookkeeping of a wheel: its version in four places, and RECORD, which lists every file's hash."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

_VERSION_LINE = re.compile(rb"^(Version:[ \t]*)(\S+)", re.MULTILINE | re.IGNORECASE)
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")  # of the old RECORD, which a new one makes void


def tag_version(version: str, compute: str) -> str:
    """The version with the target as its local part: `2.10.0+sm120`, `2.13.0+cu130.sm120`."""
    return f"{version}{'.' if '+' in version else '+'}sm{compute.replace('.', '')}"


def hash_pieces(pieces: Iterable[bytes | bytearray]) -> tuple[str, int]:
    """A file's hash as RECORD has it, and its size in bytes."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return f"sha256={base64.urlsafe_b64encode(digest.digest()).decode().rstrip('=')}", size


@dataclass(frozen=True)
class WheelNames:
    """A wheel's file name, its version as the names in it spell it, and what it is called once it is slimmed."""

    file: str
    stem: str
    compute: str

    @classmethod
    def parse(cls, file: str, members: Iterable[str], compute: str) -> WheelNames:
        """Find the one `.dist-info` folder. Raises ValueError where there is none, or the name is not a wheel's."""
        stems = {name.split("/")[0].removesuffix(".dist-info") for name in members if ".dist-info/" in name}
        try:
            parse_wheel_filename(file)
        except InvalidWheelFilename as error:
            raise ValueError(str(error)) from error
        if len(stems) != 1 or not all("-" in stem for stem in stems):
            raise ValueError("it has not one .dist-info folder")
        return cls(file, stems.pop(), compute)

    @property
    def info(self) -> str:
        return f"{self.stem}.dist-info/"

    @property
    def new_file(self) -> str:
        name, version, rest = self.file.split("-", 2)
        return f"{name}-{tag_version(version, self.compute)}-{rest}"

    def rename(self, member: str) -> str:
        """What a member is called in the new wheel."""
        for suffix in (".dist-info/", ".data/"):
            if member.startswith(self.stem + suffix):
                name, _, version = self.stem.rpartition("-")
                return f"{name}-{tag_version(version, self.compute)}{member[len(self.stem) :]}"
        return member

    def is_signature(self, member: str) -> bool:
        return member in {self.info + name for name in _SIGNATURES}


def retag_metadata(metadata: bytes, compute: str) -> bytes:
    """METADATA with the new version. Raises ValueError where it has not exactly one."""
    end = re.search(rb"\r?\n\r?\n", metadata)
    head = metadata[: end.start()] if end else metadata
    if len(_VERSION_LINE.findall(head)) != 1:
        raise ValueError("METADATA has not one version")
    tagged = _VERSION_LINE.sub(lambda line: line[1] + tag_version(line[2].decode(), compute).encode(), head)
    return tagged + metadata[len(head) :]


def rewrite_record(record: str, names: WheelNames, changed: Mapping[str, tuple[str, int]]) -> bytes:
    """RECORD with new names, with the hash and size of what was changed or added (by new name), without signatures.

    Raises ValueError for a RECORD that is not a table of three columns.
    """
    rows = []
    seen = set()
    try:
        for path, digest, size in csv.reader(io.StringIO(record, newline="")):
            if not names.is_signature(path):
                name = names.rename(path)
                seen.add(name)
                rows.append((name, *changed.get(name, (digest, size))))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"RECORD is not a table of three columns: {error}") from error
    own = names.rename(names.info + "RECORD")
    rows += [(name, *changed[name]) for name in sorted(changed.keys() - seen)]
    rows = [row for row in rows if row[0] != own]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([*rows, (own, "", "")])
    return text.getvalue().encode()
