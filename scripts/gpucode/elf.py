"""As much of ELF as it takes to find sections by name: 64-bit, little-endian, whatever the processor.

Nothing that a file says about itself is believed before it was compared with the file's size, and no file makes this
read more than MAX_HEADERS headers: however hostile, it costs a second or two and some hundred megabytes at most.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

Buffer = bytes | bytearray | mmap.mmap

# Seventy times what the largest known library has (libtorch_cuda.so: 3,258 entries in 456 containers).
MAX_HEADERS = 1 << 18

_MAGIC = b"\x7fELF"
_CLASS_64, _LITTLE_ENDIAN = 2, 1
_FILE_HEADER = struct.Struct("<4sBB10xHHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_SHT_NOBITS = 8
_SHN_XINDEX = 0xFFFF


class GpuCodeError(ValueError):
    """A file that cannot be read as what it claims to be. `place` is the file and the byte at which that shows."""

    def __init__(self, cause: str, place: str) -> None:
        super().__init__(cause, place)  # both, for an error must survive pickling between processes
        self.cause = cause
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}: {self.cause}"


@dataclass(frozen=True)
class Section:
    """A section's name and where its bytes lie in the file."""

    name: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


class Headers:
    """Reads headers out of a file's bytes: never past an end, and never more than MAX_HEADERS of them."""

    def __init__(self, data: Buffer, name: str) -> None:
        self.data = data
        self.name = name
        self._left = MAX_HEADERS

    def read(self, layout: struct.Struct, offset: int, what: str, end: int | None = None) -> tuple[int, ...]:
        """The fields of the header at `offset`, which has to end before `end` (the file's). Raises GpuCodeError."""
        if offset + layout.size > (len(self.data) if end is None else end):
            raise self.error(f"{what} is cut short", offset)
        if not self._left:
            raise self.error(f"more than {MAX_HEADERS} headers", offset)
        self._left -= 1
        return layout.unpack_from(self.data, offset)

    def error(self, cause: str, offset: int) -> GpuCodeError:
        return GpuCodeError(cause, f"{self.name} at byte {offset:#x}")


def find_sections(headers: Headers, names: Collection[str]) -> list[Section] | None:
    """The sections of these names that have bytes in the file, in the file's order; None where it is not an ELF file.

    Raises GpuCodeError for an ELF file of another class or byte order, without a section table, cut short, or with
    sections of these names that overlap.
    """
    data = headers.data
    if data[: len(_MAGIC)] != _MAGIC:
        return None
    table, count, strings = _read_table(headers)
    wanted = {f"{name}\0".encode(): name for name in names}
    longest = max(map(len, wanted))
    found = []
    for index in range(count):
        name_offset, kind, _, _, offset, length, *_ = _read_section(headers, table, index)
        start = strings.offset + name_offset
        name, nul, _ = data[start : min(start + longest, strings.end)].partition(b"\0")
        match = wanted.get(bytes(name + nul))
        if match is None or kind == _SHT_NOBITS:  # NOBITS: the bytes were split off into another file
            continue
        if offset + length > len(data):
            raise headers.error(f"section {match} ends past the end of the file", offset)
        found.append(Section(match, offset, length))
    found.sort(key=lambda section: (section.offset, section.end))
    for before, after in pairwise(found):
        if after.offset < before.end:
            raise headers.error(f"sections {before.name} and {after.name} overlap", after.offset)
    return found


def _read_table(headers: Headers) -> tuple[int, int, Section]:
    """Where the section table begins, how many headers it has, and where the sections' names are."""
    fields = headers.read(_FILE_HEADER, 0, "the ELF header")
    table, entry_size, count, names_index = fields[8], *fields[13:16]
    if fields[1:3] != (_CLASS_64, _LITTLE_ENDIAN):
        raise headers.error("not a 64-bit little-endian ELF file", 0)
    if not table:
        raise headers.error("there is no section table to find GPU code by", 0)
    if entry_size != _SECTION_HEADER.size:
        raise headers.error(f"section headers of {entry_size} bytes instead of {_SECTION_HEADER.size}", 0)
    # Where a count or an index does not fit into 16 bits, the first section header has it.
    first = _read_section(headers, table, 0)
    count = count or first[5]
    names_index = first[6] if names_index == _SHN_XINDEX else names_index
    if names_index >= count:
        raise headers.error(f"section {names_index}, which has the names, is not one of {count}", 0)
    strings = Section("of names", *_read_section(headers, table, names_index)[4:6])
    if strings.end > len(headers.data):
        raise headers.error("the sections' names lie past the end of the file", strings.offset)
    return table, count, strings


def _read_section(headers: Headers, table: int, index: int) -> tuple[int, ...]:
    return headers.read(_SECTION_HEADER, table + index * _SECTION_HEADER.size, "the section table")
