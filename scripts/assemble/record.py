"""RECORD: the list of a distribution's files with their hashes, as a wheel brings it and as an environment has it."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import posixpath
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from installer.records import InvalidRecordEntry, parse_record_file

from scripts.assemble.tree import Data, Entry, record_digest

SIGNATURES = ("RECORD.jws", "RECORD.p7s")  # of the wheel's own RECORD; an environment has another
_ALGORITHMS = ("sha256", "sha384", "sha512")


@dataclass(frozen=True)
class Row:
    """What RECORD says of a file. `digest` is `sha256=…` without padding; a `size` of -1 is one that is left out."""

    digest: str
    size: int

    def matches(self, data: Data) -> bool:
        return record_digest(data, self.digest.partition("=")[0]) == self.digest


def parse_record(text: str, own: str) -> dict[str, Row]:
    """The rows of a wheel's RECORD by member, but for those of RECORD itself (`own`) and of its signatures.

    Raises ValueError, with the reason, for what is not such a table, a row twice, and a hash weaker than SHA-256.
    """
    folder = posixpath.dirname(own)
    unlisted = {own} | {f"{folder}/{name}" for name in SIGNATURES}
    rows: dict[str, Row] = {}
    try:
        for path, digest, size in parse_record_file(io.StringIO(text, newline="")):
            if path in rows:
                raise ValueError(f"RECORD lists `{path}` twice")
            if path not in unlisted:
                rows[path] = _parse_row(path, digest, size)
    except (InvalidRecordEntry, csv.Error) as error:
        raise ValueError(f"RECORD is not a table of three columns: {error}") from error
    return rows


def _parse_row(path: str, digest: str, size: str) -> Row:
    algorithm, _, value = digest.partition("=")
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"RECORD has no hash of `{path}` that is one of {', '.join(_ALGORITHMS)}")
    value = value.rstrip("=")
    try:
        length = len(base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        length = -1
    if length != hashlib.new(algorithm).digest_size or not (size == "" or (size.isascii() and size.isdigit())):
        raise ValueError(f"RECORD's hash or size of `{path}` cannot be read")
    return Row(f"{algorithm}={value}", int(size) if size else -1)


def render_record(entries: Iterable[Entry], unhashed: Collection[str], modules: str) -> bytes:
    """RECORD of an installed distribution, sorted by path as it is written: relative to site-packages (`modules`).

    `unhashed` are the paths in the image whose hash is left out: byte code, and RECORD itself.
    """
    rows = [(_relative(entry.path, modules), entry.digest, str(entry.size)) for entry in entries]
    rows += [(_relative(path, modules), "", "") for path in unhashed]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    return text.getvalue().encode()


def _relative(path: str, modules: str) -> str:
    inside = path.removeprefix(f"{modules}/")
    return inside if inside != path else posixpath.relpath(f"/{path}", f"/{modules}")
