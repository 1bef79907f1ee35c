"""A tar's entries, one after another, off a stream: nothing is unpacked, and nothing that it says is believed blindly.

Read is what engines read, which unpack layers with Go's archive/tar: where two readers of tars disagree, a library can
stand in a layer and be seen in no audit. (tests/tar_oracle.py compares.) The standard library's `tarfile` takes damage
after the first entry for the end of the archive, and keeps every entry it has seen; a gate can afford neither. Formats:
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html and
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeVar

from scripts.errors import Undecided
from scripts.files import CHUNK
from scripts.oci.header import (
    BLOCK,
    SPARSE_MORE,
    TarDamage,
    TarHeader,
    parse_header,
    parse_whole,
    read_records,
    read_text,
    read_time,
)

Kind = Literal[
    "file",
    "directory",
    "symlink",
    "hardlink",
    "character device",
    "block device",
    "pipe",
    "sparse",
    "global",
    "unknown",
]

# Twice the largest known layer (30 GB), and low enough that no bomb keeps us busy for an hour.
LARGEST_ARCHIVE = 1 << 36
LARGEST_EXTENSION = 1 << 20  # bytes, as in Go's archive/tar
MOST_EXTENSIONS = 1 << 28  # bytes of one archive's: a hundred times what the largest known layer has
LONGEST_NAME = 4096  # bytes: Linux takes no longer path

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
_NUMBERS: dict[str, Callable[[str], float]] = {
    **dict.fromkeys(("size", "uid", "gid"), parse_whole),
    **dict.fromkeys(("mtime", "atime", "ctime"), read_time),
}
_EMPTY = bytes(BLOCK)
# Engines give them to the files that they unpack: an opaque folder, one that shows another's files, a whiteout.
_OVERLAY = ("SCHILY.xattr.trusted.overlay.", "SCHILY.xattr.user.overlay.")
_WITH_CONTENT = ("file", "sparse", "unknown")
PERMISSIONS = 0o7777
_SPARSE = "GNU.sparse."

T = TypeVar("T")
U = TypeVar("U")


class TarMember(NamedTuple):
    """An entry: its name and its link's target as they stand there, and how many bytes of content follow.

    What is not UTF-8 in them is kept as Python keeps names of files (surrogateescape): two names stay two; `spell`
    makes them printable. `mode` holds the permissions, `uid` and `gid` the owner, and `mtime` seconds since 1970. A
    `global` entry is a pax header for all that follow: engines do not obey it, and some treat its name as a file's.
    What is `unknown` is of a type that no engine unpacks.
    """

    name: str
    kind: Kind
    target: str
    size: int
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = 0


@dataclass(slots=True)
class _Pending:
    """What stands before an entry and is about it: the last pax header, and the last GNU long names."""

    records: dict[str, str]
    name: str = ""
    target: str = ""

    @property
    def used(self) -> bool:
        return bool(self.records or self.name or self.target)


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
        self._extensions = 0
        self.ended = False  # whether the mark was seen that ends an archive

    def __iter__(self) -> Iterator[tuple[TarMember, Source]]:
        """Entries with their content, which can be read until the next one is asked for."""
        pending = _Pending({})
        while (header := self._read_header()) is not None:
            if header.kind in b"gxLK":
                data = self._read_extension(header.size)
                if header.kind == b"x":
                    pending.records = self._parse(read_records, data)  # in place of one that came before, as Go has it
                elif header.kind == b"L":
                    pending.name = read_text(data)
                elif header.kind == b"K":
                    pending.target = read_text(data)
                else:  # it ends what was pending, too
                    records = self._parse(read_records, data)
                    self._read_numbers(records)  # where one is wrong, what Go takes for the name is left to chance
                    pending = _Pending({})
                    yield TarMember(records.get("path") or header.name, "global", "", 0), _Content(self, 0)
                continue
            member = self._member(header, pending)
            if pending.used:
                pending = _Pending({})
            content = _Content(self, member.size)
            yield member, content
            if member.size:
                content.skip()
                if self._ends_in_padding(-member.size % BLOCK):
                    return

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

    def _parse(self, parse: Callable[[T], U], value: T) -> U:
        try:
            return parse(value)
        except TarDamage as damage:
            raise self.error(str(damage)) from damage

    def _read_block(self) -> bytes:
        """The next block; nothing where the stream ends before it."""
        block = self._stream.read(BLOCK)
        self.count(len(block))
        if block and len(block) < BLOCK:
            raise self.error(f"cut short after {self._taken} bytes")
        return block

    def _read_header(self) -> TarHeader | None:
        """The next header, or None where the archive ends: with its stream, or with a mark of two empty blocks."""
        block = self._read_block()
        if not block:
            return None
        if block != _EMPTY:
            try:
                return parse_header(block)
            except TarDamage as damage:
                raise self.error(f"{damage} at byte {self._taken - BLOCK}") from damage
        self.ended = True
        if any(self._read_block()):
            raise self.error(f"an entry behind half of the mark that ends it, at byte {self._taken - BLOCK}")
        return None

    def _read_extension(self, size: int) -> bytes:
        if not 0 <= size <= LARGEST_EXTENSION:
            raise self.error(f"an entry's attributes take {size} bytes")
        self._extensions += size
        if self._extensions > MOST_EXTENSIONS:
            raise self.error(f"its entries' attributes take more than {MOST_EXTENSIONS} bytes")
        data = self.take(size)
        self._ends_in_padding(-size % BLOCK)  # the header that has to follow would be missing as well
        return data

    def _ends_in_padding(self, size: int) -> bool:
        """Read up to the next block. Whether the stream ends before it: to Go, and so to engines, that is an end."""
        data = self._stream.read(size) if size else b""
        self.count(len(data))
        return len(data) < size

    def _member(self, header: TarHeader, pending: _Pending) -> TarMember:
        kind = _KINDS.get(header.kind, "unknown")
        records = pending.records
        name = pending.name or records.get("path") or header.name
        target = pending.target or records.get("linkpath") or header.target
        if header.kind == b"\0" and name.endswith("/"):  # as tars were before there was a type for directories
            kind = "directory"
        if records and any(key.startswith(_OVERLAY) for key in records):
            raise self.error(f"attributes by which overlayfs hides and moves files ({name!r})")
        numbers = self._read_numbers(records) if records else {}
        size = int(numbers["size"]) if "size" in numbers else header.size
        if size < 0 and kind in _WITH_CONTENT:
            raise self.error("an entry's size is not a number")
        if kind == "sparse":
            self._pass_sparse_map(header)
        elif records and _is_sparse(records):
            kind, name = "sparse", records.get(f"{_SPARSE}name") or name
        if len(name) > LONGEST_NAME or len(target) > LONGEST_NAME:
            raise self.error("a name is longer than any system takes")
        uid, gid = header.uid, header.gid
        mtime: float = header.mtime
        if numbers:
            uid, gid = int(numbers.get("uid", uid)), int(numbers.get("gid", gid))
            mtime = numbers.get("mtime", mtime)
        if uid < 0 or gid < 0:
            raise self.error(f"an entry's {'uid' if uid < 0 else 'gid'} is not a number")
        mode = header.mode & PERMISSIONS  # whatever else it says, as engines take it
        return TarMember(name, kind, target, size if kind in _WITH_CONTENT else 0, mode, uid, gid, mtime)

    def _read_numbers(self, records: dict[str, str]) -> dict[str, float]:
        """The numbers that a pax header has. One that is empty is not there, as in Go."""
        numbers: dict[str, float] = {}
        for key, parse in _NUMBERS.items():
            if text := records.get(key):
                try:
                    numbers[key] = parse(text)
                except TarDamage as damage:
                    raise self.error(f"an entry's {key} is not a number") from damage
        return numbers

    def _pass_sparse_map(self, header: TarHeader) -> None:
        """Read what stands between an old GNU sparse file's header and its content: more of the map of its holes."""
        if not header.is_gnu:
            raise self.error("a sparse file of a form that no engine unpacks")
        more = header.has_more
        while more:
            more = bool(self.take(BLOCK)[SPARSE_MORE])


def _is_sparse(records: dict[str, str]) -> bool:
    """Whether a pax header makes a file sparse, in one of the versions that Go knows: any other is a plain file."""
    version = records.get(f"{_SPARSE}major", ""), records.get(f"{_SPARSE}minor", "")
    if version in (("0", "0"), ("0", "1"), ("1", "0")):
        return True
    return version == ("", "") and bool(records.get(f"{_SPARSE}map"))


def spell(name: str) -> str:
    """A name as it can be printed and kept: bytes that are no UTF-8 are spelled out (`caf\\xe9`)."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
