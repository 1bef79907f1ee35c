"""Wheels as what they are on disk: zip archives, read and written by member, without unpacking what is only passed on.

The central directory is a set of claims. Sizes are compared with the archive's own before anything is allocated: no
deflate stream becomes more than 1,032 times as long, and all members together take no more than the archive has.
"""

from __future__ import annotations

import lzma
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import deflate
from zlib_ng import zlib_ng

from scripts.errors import Undecided
from scripts.files import CHUNK, open_plain

# What reading an archive raises where it is no sound one; an OSError too: an offset that no file could have.
DAMAGE = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError, OSError),
    *(struct.error, zlib.error, lzma.LZMAError),
)
MAX_MEMBER = 1 << 31  # bytes of one member, unpacked; the largest known library has 1.04 GB
MAX_MEMBERS = 1 << 17
LARGEST_DIRECTORY = 1 << 25  # bytes; torch's has 2 MB
MAX_RATIO = 1032
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR_64 = struct.Struct("<4sIQI")
_LENGTHS = struct.Struct("<HHH")  # of a name, and of what comes behind it in the directory
_END_REACH = _END.size + 0xFFFF  # with the comment that may follow it
_LEVEL, _DESCRIPTOR, _UTF8 = 0x6, 0x8, 0x800
_KNOWN_FLAGS = _LEVEL | _DESCRIPTOR | _UTF8  # others: encrypted, patches to another file, a directory that is hidden
_ZIP64_VERSION, _FULL_16, _FULL_32 = 45, 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class ZipMember:
    """A member of an archive; `offset` is where its packed bytes begin, `info` all that its directory says."""

    info: zipfile.ZipInfo
    offset: int

    @property
    def name(self) -> str:
        return self.info.filename


class ZipReader:
    """An archive that is open for reading: `members` by name, in the order of its directory."""

    def __init__(self, path: Path, file: str = "") -> None:
        """Open and check. `file` is the wheel's own file name, where it lies under another one.

        Raises Undecided for what is no sound archive, and OSError.
        """
        self.path, self._file = path, file or path.name
        try:
            with open_plain(path) as stream:
                self._data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                self._check_directory()
                infos = self._list(stream)
        except (ValueError, struct.error) as error:  # of a file without a byte, or with numbers that no file could have
            raise self.damaged(str(error)) from error
        self.members = self._check(infos)

    def _list(self, stream: BinaryIO) -> list[zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(stream) as archive:
                return archive.infolist()
        except DAMAGE as error:
            raise self.damaged(str(error)) from error

    def damaged(self, cause: str) -> Undecided:
        """The error that says why this file cannot be believed."""
        return Undecided(f"not a sound wheel: {cause}", self._file, "fetch it again, and compare its hash")

    def _check_directory(self) -> None:
        """Bound what is read of the directory before it is: each member takes a kilobyte in memory."""
        end = _find_directory(self._data)
        if end is None:  # no archive: that is for whoever reads it to say
            return
        start, size = end
        if size > LARGEST_DIRECTORY:
            raise self.damaged(f"its directory has {size} bytes")
        count, place = 0, start
        while place + _CENTRAL.size <= start + size and self._data[place : place + 4] == b"PK\x01\x02":
            count += 1
            if count > MAX_MEMBERS:
                raise self.damaged(f"it has more than {MAX_MEMBERS} members")
            place += _CENTRAL.size + sum(_LENGTHS.unpack_from(self._data, place + 28))

    def _check(self, infos: list[zipfile.ZipInfo]) -> dict[str, ZipMember]:
        if sum(info.compress_size for info in infos) > len(self._data):
            raise self.damaged("its directory lists more than it has")
        members: dict[str, ZipMember] = {}
        for info in infos:
            path = PurePosixPath(info.filename)
            if any(ord(letter) < 32 for letter in info.filename):
                raise self.damaged(f"`{info.filename}` has a control character")
            if path.is_absolute() or ".." in path.parts or "\\" in info.filename or not path.parts:
                raise self.damaged(f"`{info.filename}` is not a path inside it")
            if info.filename in members:
                raise self.damaged(f"it has `{info.filename}` twice")
            if info.flag_bits & ~_KNOWN_FLAGS or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self.damaged(f"`{info.filename}` is packed in a way that wheels are not")
            members[info.filename] = ZipMember(info, self._find(info))
        self._check_overlaps(members)
        return members

    def _check_overlaps(self, members: dict[str, ZipMember]) -> None:
        """No byte may belong to two members: one of them would be unpacked under a thousand names."""
        spans = sorted(
            (each.info.header_offset, each.offset + each.info.compress_size, each.name) for each in members.values()
        )
        for (_, end, name), (start, _, other) in pairwise(spans):
            if start < end:
                raise self.damaged(f"`{name}` and `{other}` share bytes")

    def _find(self, info: zipfile.ZipInfo) -> int:
        if not 0 <= info.header_offset <= len(self._data) - _LOCAL.size:
            raise self.damaged(f"`{info.filename}` lies past its end")
        signature, *_, name_size, extra_size = _LOCAL.unpack_from(self._data, info.header_offset)
        start = info.header_offset + _LOCAL.size
        offset = start + int(name_size) + int(extra_size)
        name = self._data[start : start + name_size].decode("utf-8" if info.flag_bits & _UTF8 else "cp437", "replace")
        same = signature == b"PK\x03\x04" and name == info.orig_filename
        if not same or offset + info.compress_size > len(self._data):
            raise self.damaged(f"`{info.filename}` is not where the directory says")
        return offset

    def packed(self, member: ZipMember) -> memoryview:
        """A member's bytes as they are in the archive."""
        return memoryview(self._data)[member.offset : member.offset + member.info.compress_size]

    def read(self, member: ZipMember, limit: int = MAX_MEMBER) -> bytes | bytearray:
        """A member's bytes, unpacked and checked. Raises Undecided where they are not what the directory says."""
        info = member.info
        if info.file_size > min(limit, max(info.compress_size, 1) * MAX_RATIO):
            raise self.damaged(f"`{member.name}` claims to have {info.file_size} bytes")
        try:
            stored = info.compress_type == zipfile.ZIP_STORED
            packed = self.packed(member)
            data = bytes(packed) if stored else deflate.deflate_decompress(packed, info.file_size)
        except (deflate.DeflateError, ValueError) as error:
            raise self.damaged(f"`{member.name}` cannot be unpacked") from error
        if len(data) != info.file_size or deflate.crc32(data) != info.CRC:
            raise self.damaged(f"`{member.name}` is not what its checksum says")
        return data

    def check(self, member: ZipMember) -> None:
        """Raise Undecided unless a member unpacks to what the directory says. It is not held in memory."""
        with self.open(member):
            pass

    @contextmanager
    def open(self, member: ZipMember) -> Iterator[ZipStream]:
        """A member's bytes, to be read in order. What the block leaves is read after it: raises as `check`."""
        stream = ZipStream(self._unpack_checked(member))
        yield stream
        stream.finish()

    def read_start(self, member: ZipMember, size: int) -> bytes:
        """The first `size` bytes of a member, or all that it has; its checksum is not asked. Raises as `read`."""
        start = bytearray()
        for data in self._unpack(member):
            start += data
            if len(start) >= size:
                break
        return bytes(start[:size])

    def _unpack_checked(self, member: ZipMember) -> Iterator[bytes | memoryview]:
        info, size, crc = member.info, 0, 0
        for data in self._unpack(member):
            size, crc = size + len(data), deflate.crc32(data, crc)
            if size > info.file_size:
                break
            yield data
        if size != info.file_size or crc != info.CRC:
            raise self.damaged(f"`{member.name}` is not what its checksum says")

    def _unpack(self, member: ZipMember) -> Iterator[bytes | memoryview]:
        """A member's bytes, a piece at a time. What follows the end of its stream is left, as whoever reads it does."""
        packed = self.packed(member)
        if member.info.compress_type == zipfile.ZIP_STORED:
            yield from (packed[start : start + CHUNK] for start in range(0, len(packed), CHUNK))
            return
        unpacker = zlib_ng.decompressobj(-zlib_ng.MAX_WBITS)
        try:
            for start in range(0, len(packed), CHUNK):
                piece: bytes | memoryview = packed[start : start + CHUNK]
                full = True  # a full answer may not be all that it has
                while full and not unpacker.eof:
                    data = unpacker.decompress(piece, CHUNK)
                    full, piece = len(data) == CHUNK, unpacker.unconsumed_tail
                    yield data
        except zlib_ng.error as error:  # type: ignore[misc]  # a class, which its stub calls an instance
            raise self.damaged(f"`{member.name}` cannot be unpacked") from error
        if not unpacker.eof:
            raise self.damaged(f"`{member.name}` cannot be unpacked")


class ZipStream:
    """Bytes that come a piece at a time, read by any number."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._ahead = bytearray()

    def read(self, size: int, /) -> bytes:
        """All the bytes that were asked for; fewer only where they end."""
        while len(self._ahead) < size and (piece := next(self._pieces, None)) is not None:
            self._ahead += piece
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data

    def finish(self) -> None:
        """Read to the end."""
        for _ in self._pieces:
            pass


class ZipWriter:
    """Writes an archive to a stream, each member with the time and the mode of one that it is made from."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._directory: list[bytes] = []
        self._offset = 0

    def copy(self, member: ZipMember, name: str, packed: memoryview) -> None:
        """Pass a member on as it is, perhaps under another name."""
        info = member.info
        self._add(info, name, info.compress_type, info.CRC, info.file_size, [packed])

    def store(self, like: ZipMember, name: str, pieces: Sequence[bytes | bytearray]) -> None:
        """Write bytes as a member, not packed: the wheel is installed at once, and a layer is packed afterwards."""
        crc = 0
        for piece in pieces:
            crc = deflate.crc32(piece, crc)
        self._add(like.info, name, zipfile.ZIP_STORED, crc, sum(map(len, pieces)), pieces)

    def _add(
        self,
        info: zipfile.ZipInfo,
        name: str,
        method: int,
        crc: int,
        size: int,
        pieces: Sequence[bytes | bytearray | memoryview],
    ) -> None:
        packed_size = sum(map(len, pieces))
        raw, flags = _encode(name, info.flag_bits)
        big = max(size, packed_size) >= _FULL_32
        time, date = _dos_time(info.date_time)
        sizes = (_FULL_32, _FULL_32) if big else (packed_size, size)
        extra = struct.pack("<HHQQ", 1, 16, size, packed_size) if big else b""
        version = _ZIP64_VERSION if big else info.extract_version
        common = (version, flags, method, time, date, crc, *sizes, len(raw))
        local = _LOCAL.pack(b"PK\x03\x04", *common, len(extra)) + raw + extra
        self._directory.append(self._central_header(info, raw, common, (size, packed_size), big))
        self._stream.write(local)
        self._stream.writelines(pieces)
        self._offset += len(local) + packed_size

    def _central_header(
        self, info: zipfile.ZipInfo, raw: bytes, common: tuple[int, ...], sizes: tuple[int, int], big: bool
    ) -> bytes:
        wide = list(sizes) if big else []
        offset = self._offset
        if offset >= _FULL_32:
            wide.append(offset)
            offset = _FULL_32
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version = max(common[0], _ZIP64_VERSION) if wide else common[0]
        made_by = info.create_system << 8 | max(info.create_version, version)
        tail = (len(extra), 0, 0, info.internal_attr, info.external_attr, offset)
        return _CENTRAL.pack(b"PK\x01\x02", made_by, version, *common[1:], *tail) + raw + extra

    def finish(self) -> None:
        """Write the directory; nothing may be added afterwards."""
        directory, count, start = b"".join(self._directory), len(self._directory), self._offset
        self._stream.write(directory)
        if count >= _FULL_16 or len(directory) >= _FULL_32 or start >= _FULL_32:
            numbers = (count, count, len(directory), start)
            end_64 = (b"PK\x06\x06", _END_64.size - 12, _ZIP64_VERSION, _ZIP64_VERSION, 0, 0, *numbers)
            self._stream.write(_END_64.pack(*end_64))
            self._stream.write(_LOCATOR_64.pack(b"PK\x06\x07", 0, start + len(directory), 1))
        short = min(count, _FULL_16)
        sizes = (min(len(directory), _FULL_32), min(start, _FULL_32))
        self._stream.write(_END.pack(b"PK\x05\x06", 0, 0, short, short, *sizes, 0))


def _find_directory(data: mmap.mmap) -> tuple[int, int] | None:
    """Where the directory begins and how many bytes it has, found as `zipfile` finds it; None where there is none."""
    size = len(data)
    place = size - _END.size
    if place < 0 or data[place : place + 4] != b"PK\x05\x06" or data[-2:] != b"\0\0":
        place = data.rfind(b"PK\x05\x06", max(0, size - _END_REACH))
    if place < 0 or place + _END.size > size:
        return None
    length = _END.unpack_from(data, place)[5]
    locator, end_64 = place - _LOCATOR_64.size, place - _LOCATOR_64.size - _END_64.size
    if end_64 >= 0 and data[locator : locator + 4] == b"PK\x06\x07" and data[end_64 : end_64 + 4] == b"PK\x06\x06":
        length, place = _END_64.unpack_from(data, end_64)[8], end_64
    return max(0, place - length), length


def _encode(name: str, flags: int) -> tuple[bytes, int]:
    """A name's bytes and the flags for them. Sizes go before the data, so that no descriptor follows it."""
    flags &= ~_DESCRIPTOR
    try:
        return name.encode("ascii"), flags & ~_UTF8
    except UnicodeEncodeError:
        return name.encode(), flags | _UTF8


def _dos_time(moment: tuple[int, int, int, int, int, int]) -> tuple[int, int]:
    year, month, day, hour, minute, second = moment
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day
