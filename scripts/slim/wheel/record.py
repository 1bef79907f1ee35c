"""RECORD, which lists every file of a wheel with its hash and size."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Mapping

from scripts.slim.wheel.names import WheelNames


def hash_pieces(pieces: Iterable[bytes | bytearray]) -> tuple[str, int]:
    """A file's hash as RECORD has it, and its size in bytes."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return f"sha256={base64.urlsafe_b64encode(digest.digest()).decode().rstrip('=')}", size


def rewrite_record(record: str, names: WheelNames, changed: Mapping[str, tuple[str, int]]) -> bytes:
    """RECORD with new names, with the hash and size of what was changed or added (by new name), without signatures.

    Raises ValueError for a RECORD that is not a table of three columns.
    """
    rows = []
    seen = set()
    try:
        for path, digest, size in csv.reader(io.StringIO(record, newline="")):
            if any(ord(letter) < 32 for letter in f"{path}{digest}{size}"):
                raise ValueError("a control character")
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
