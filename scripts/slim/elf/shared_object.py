"""A shared object as its loader sees it: segments, sections and the dynamic table of an ELF file for x86-64 Linux.

Two things can be wrong with a file: it contradicts itself (GpuCodeError), or it is sound and something about it is not
understood here (Untouchable). Neither is ever guessed around.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from itertools import pairwise

from scripts.gpucode.elf import Buffer, Headers

PAGE = 0x1000  # x86-64 maps no smaller piece of a file

FILE_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<QQ")
_ET_DYN, _EM_X86_64 = 3, 62
PT_NULL, PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_PHDR, PT_GNU_PROPERTY = 0, 1, 2, 4, 6, 0x6474E553
PF_WRITE = 2
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL, SHT_DYNSYM = 0, 1, 2, 4, 8, 9, 11
SHF_ALLOC, SHF_COMPRESSED = 0x2, 0x800
_END_OF_MEMORY = 1 << 63
MAX_SEGMENTS = 256  # real ones have a dozen
MAX_LOADS = 16  # and four to six that are mapped


class Untouchable(Exception):
    """Why a sound library is left as it is, in a few words."""


@dataclass(frozen=True)
class Segment:
    """A program header: what the loader maps, and where to. Sizes and offsets in bytes."""

    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int

    @property
    def end(self) -> int:
        return self.offset + self.file_size

    def pack(self) -> bytes:
        return SEGMENT.pack(*astuple(self))


@dataclass(frozen=True)
class Section:
    """A section header, and its place in the table."""

    index: int
    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    align: int

    @property
    def end(self) -> int:
        """Where its bytes end in the file."""
        return self.offset + (0 if self.kind in (SHT_NULL, SHT_NOBITS) else self.size)

    def holds(self, address: int) -> bool:
        return self.address <= address < self.address + self.size


@dataclass(frozen=True)
class SharedObject:
    """The headers of one file. `segment_table` and `section_table` are offsets in the file."""

    data: Buffer
    name: str
    segment_table: int
    section_table: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]

    @property
    def loads(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.kind == PT_LOAD]

    def find(self, name: str) -> Section:
        """The one section of this name. Raises Untouchable if there is none, or more."""
        found = [section for section in self.sections if section.name == name]
        if len(found) != 1:
            raise Untouchable(f"it has {len(found)} sections {name} instead of one")
        return found[0]

    def offset_of(self, address: int, size: int, what: str) -> int:
        """Where the bytes at an address lie in the file. Raises Untouchable for bytes that no segment maps."""
        for load in self.loads:
            if load.address <= address and address + size <= load.address + load.file_size:
                return address - load.address + load.offset
        raise Untouchable(f"{what} at address {address:#x} is not mapped from the file")

    def read(self, address: int, size: int, what: str) -> bytes:
        offset = self.offset_of(address, size, what)
        return bytes(self.data[offset : offset + size])


def read_shared_object(data: Buffer, name: str) -> SharedObject:
    """Read and check a file's headers. Raises GpuCodeError or Untouchable."""
    headers = Headers(data, name)
    fields = headers.read(FILE_HEADER, 0, "the ELF header")
    kind, machine, segment_table, section_table = fields[1], fields[2], fields[5], fields[6]
    segment_size, segment_count = fields[9:11]
    if kind != _ET_DYN or machine != _EM_X86_64:
        raise Untouchable("it is not a shared object for x86-64")
    if segment_size != SEGMENT.size or not 0 < segment_count <= MAX_SEGMENTS:
        raise Untouchable(f"it has {segment_count} program headers of {segment_size} bytes")
    places = range(segment_table, segment_table + segment_count * SEGMENT.size, SEGMENT.size)
    segments = tuple(Segment(*headers.read(SEGMENT, place, "a program header")) for place in places)
    _check_segments(headers, segments)
    sections = tuple(_read_sections(headers, section_table, fields[12], fields[13]))
    return SharedObject(data, name, segment_table, section_table, segments, sections)


def _check_segments(headers: Headers, segments: tuple[Segment, ...]) -> None:
    for segment in segments:
        if segment.end > len(headers.data):
            raise headers.error("a segment ends past the end of the file", segment.offset)
        if max(segment.address, segment.physical) + segment.memory_size >= _END_OF_MEMORY:
            raise headers.error("a segment ends past the end of memory", segment.offset)
    loads = [segment for segment in segments if segment.kind == PT_LOAD]
    if len(loads) > MAX_LOADS:
        raise Untouchable(f"{len(loads)} segments are mapped")
    for load in loads:
        if load.file_size > load.memory_size:
            raise headers.error("a segment has more bytes in the file than in memory", load.offset)
        if load.align < PAGE or load.align & (load.align - 1) or (load.offset - load.address) % load.align:
            raise Untouchable(f"a segment is aligned to {load.align:#x} bytes, and lies elsewhere")
    for before, after in pairwise(loads):
        if before.address + before.memory_size > after.address:
            raise headers.error("the segments' addresses do not ascend", after.offset)


def _read_sections(headers: Headers, table: int, count: int, names_index: int) -> Iterator[Section]:
    if not 0 < names_index < count:  # as from 65,280 sections on, when the first section header has the numbers
        raise Untouchable(f"section {names_index}, which has the names, is not one of {count}")
    raw = [
        headers.read(SECTION, place, "the section table")
        for place in range(table, table + count * SECTION.size, SECTION.size)
    ]
    names = bytes(headers.data[raw[names_index][4] : raw[names_index][4] + min(raw[names_index][5], 1 << 20)])
    for index, (name, kind, flags, address, offset, size, link, _, align, _) in enumerate(raw):
        text = names[name : name + 64].partition(b"\0")[0].decode("latin-1")
        section = Section(index, text, kind, flags, address, offset, size, link, align)
        if section.end > len(headers.data):
            raise headers.error(f"section {text} ends past the end of the file", offset)
        yield section


def read_dynamic(shared: SharedObject) -> dict[int, int]:
    """The dynamic table, by tag; of a tag that occurs several times, the last. Raises GpuCodeError or Untouchable."""
    headers = Headers(shared.data, shared.name)
    tables = [segment for segment in shared.segments if segment.kind == PT_DYNAMIC]
    if len(tables) != 1:
        raise Untouchable(f"it has {len(tables)} dynamic tables instead of one")
    place = shared.offset_of(tables[0].address, tables[0].file_size, "the dynamic table")
    end = place + tables[0].file_size
    values: dict[int, int] = {}
    while True:
        tag, value = headers.read(_DYNAMIC, place, "the dynamic table", end)
        if not tag:
            return values
        values[tag] = value
        place += _DYNAMIC.size
