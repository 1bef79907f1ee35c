"""A tar's entries, one after another, off a stream: nothing is unpacked, and nothing that it says is believed blindly.

The standard library's `tarfile` takes damage after the first entry for the end of the archive, and keeps every entry it
has seen; a gate can afford neither. Formats: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html and
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from scripts.errors import Undecided
from scripts.files import CHUNK

Kind = Literal["file", "directory", "symlink", "hardlink", "character device", "block device", "pipe", "sparse"]

# Far above any image (the largest known layers have 30 GB), and low enough that no bomb keeps us busy for a day.
LARGEST_ARCHIVE = 1 << 38
LARGEST_EXTENSION = 1 << 20  # bytes, as in Go's archive/tar, which is what engines read layers with
LONGEST_NAME = 4096  # bytes: Linux takes no longer path

_BLOCK = 512
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "character device",
    b"4": "block device",
    b"5": "directory",
    b"6": "pipe",
    b"S": "sparse",
}
_DECIMAL = re.compile(r"-?[0-9]{1,19}(?P<fraction>\.[0-9]*)?")
_GNU_NAMES = {b"L": "path", b"K": "linkpath"}


@dataclass(frozen=True, slots=True)
class TarMember:
    """An entry: its name and its link's target as they stand there, and how many bytes of content follow.

    `mode` holds the permissions, `uid` and `gid` the owner, and `mtime` seconds since 1970.
    """

    name: str
    kind: Kind
    target: str
    size: int
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = 0


class Source(Protocol):
    """What this reads from: `read` gives all the bytes that were asked for, and fewer only where they end."""

    def read(self, size: int, /) -> bytes: ...


class _Content:
    """The bytes of one entry."""

    def __init__(self, archive: TarReader, size: int) -> None:
        self._archive = archive
        self._left = size

    def read(self, size: int, /) -> bytes:
        data = self._archive.take(min(size, self._left))
        self._left -= len(data)
        return data

    def skip(self) -> None:
        while self.read(CHUNK):
            pass


class TarReader:
    """Reads one tar. Every method raises Undecided, with `place`, for what no engine would unpack."""

    def __init__(self, stream: Source, place: str) -> None:
        self._stream = stream
        self._place = place
        self._taken = 0
        self.ended = False  # whether the mark was seen that ends an archive

    def __iter__(self) -> Iterator[tuple[TarMember, Source]]:
        """Entries with their content, which can be read until the next one is asked for."""
        extended: dict[str, str] = {}
        while header := self._read_header():
            kind, size = header[156:157], _number(header[124:136])
            if size is None or size < 0:
                raise self.error("an entry's size is not a number")
            if kind in b"gx" or kind in _GNU_NAMES:
                data = self._read_extension(size)
                if kind == b"x":
                    extended |= self._read_records(data)
                elif kind != b"g":  # engines pass over what is meant for all entries
                    extended[_GNU_NAMES[kind]] = _text(data)
                continue
            member = self._member(header, size, extended)
            extended = {}
            content = _Content(self, member.size)
            yield member, content
            content.skip()
            self.take(-member.size % _BLOCK)

    def take(self, size: int) -> bytes:
        """The next `size` bytes, all of them."""
        data = self._stream.read(size) if size else b""
        self.count(len(data))
        if len(data) < size:
            raise self.error(f"cut short after {self._taken} bytes")
        return data

    def count(self, size: int) -> None:
        """Take note of bytes that came out of the stream."""
        self._taken += size
        if self._taken > LARGEST_ARCHIVE:
            raise self.error(f"more than {LARGEST_ARCHIVE} bytes, which is more than this program reads")

    def error(self, cause: str) -> Undecided:
        return Undecided(f"not a layer that can be read: {cause}", self._place, "build or pull the image again")

    def _read_header(self) -> bytes:
        """The next header, or nothing where the archive ends."""
        header = self._stream.read(_BLOCK)
        if not header:
            return b""
        self.count(len(header))
        if len(header) < _BLOCK:
            raise self.error(f"cut short after {self._taken} bytes")
        if not any(header):
            self.ended = True
            return b""
        expected = _number(header[148:156])
        if expected != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise self.error(f"no tar entry at byte {self._taken - _BLOCK}")
        return header

    def _read_extension(self, size: int) -> bytes:
        if size > LARGEST_EXTENSION:
            raise self.error(f"an entry's attributes take {size} bytes")
        data = self.take(size)
        self.take(-size % _BLOCK)
        return data

    def _read_records(self, data: bytes) -> dict[str, str]:
        """The attributes of a pax header: each is its length, a space, key=value and a newline."""
        found = {}
        while data:
            length, space, _ = data[:20].partition(b" ")
            end = int(length) if length.isdigit() else 0
            key, equals, value = data[len(length) + 1 : end - 1].partition(b"=")
            if not space or not equals or data[end - 1 : end] != b"\n":
                raise self.error("an entry's attributes cannot be read")
            found[_text(key)] = _text(value)
            data = data[end:]
        return found

    def _member(self, header: bytes, size: int, extended: dict[str, str]) -> TarMember:
        kind = _KINDS.get(header[156:157])
        if kind is None:
            raise self.error(f"an entry of a type that no layer has ({header[156:157]!r})")
        name = _text(header[:100])
        if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
            name = f"{prefix}/{name}"
        name = extended.get("path", name)
        target = extended.get("linkpath", _text(header[157:257]))
        has_content = kind in ("file", "sparse")
        if header[156:157] == b"\0" and name.endswith("/"):  # as tars were before there was a type for directories
            kind = "directory"
        if any(key.startswith("GNU.sparse.") for key in extended):
            kind, name = "sparse", extended.get("GNU.sparse.name", name)
        if "size" in extended:
            text = extended["size"]
            if not (text.isascii() and text.isdigit() and len(text) < 20):
                raise self.error("an entry's size is not a number")
            size = int(text)
        if max(len(name), len(target)) > LONGEST_NAME:
            raise self.error("a name is longer than any system takes")
        return TarMember(
            name,
            kind,
            target,
            size if has_content else 0,
            int(self._attribute("mode", header[100:108], "")),
            int(self._attribute("uid", header[108:116], extended.get("uid", ""))),
            int(self._attribute("gid", header[116:124], extended.get("gid", ""))),
            self._attribute("mtime", header[136:148], extended.get("mtime", "")),
        )

    def _attribute(self, name: str, field: bytes, extended: str) -> float:
        """A number of the header, unless the pax header has another; a time alone may be negative or broken."""
        found: float | None = _number(field)
        if extended:
            match = _DECIMAL.fullmatch(extended)
            found = None if match is None else float(extended) if match["fraction"] else int(extended)
        if found is None or (name != "mtime" and (found < 0 or found != int(found))):
            raise self.error(f"an entry's {name} is not a number")
        return found


def _number(field: bytes) -> int | None:
    """A number in octal, or in base 256 where the first bit is set; the next one is that one's sign."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.strip(b" \0")
    try:
        return int(digits or b"0", 8)
    except ValueError:
        return None


def _text(data: bytes) -> str:
    """A name up to its NUL. What is not UTF-8 is spelled out: half a character can be printed and kept nowhere."""
    return data.partition(b"\0")[0].decode("utf-8", "backslashreplace")
