"""Shared objects with GPU code, written by the format's description, and a loader that shows what a process would see.

The file: headers, notes, dynamic symbols and relocations; `.nv_fatbin` and `.rodata` in the same segment; then, in one
that can be written to, the wrappers, the dynamic table and one word of data; then what is not loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.gpucode import Entry
from tests.unit.gpucode import make_container, make_entry

NOTE_SIZE, RODATA = 0x24, b"what follows the GPU code".ljust(64, b".")
DYNSYM, DYNSTR, RELOCATIONS, FATBIN = 0x400, 0x500, 0x600, 0x1740  # fixed places, so that tests can point at them
RELATIVE = 8
# The sections, by their numbers.
SECTIONS = (
    "",
    ".note",
    ".dynsym",
    ".dynstr",
    ".rela.dyn",
    ".nv_fatbin",
    ".rodata",
    ".nvFatBinSegment",
    ".dynamic",
    ".data",
    ".bss",
    ".symtab",
    ".strtab",
    ".shstrtab",
)
INDEX = {name: index for index, name in enumerate(SECTIONS)}


def fatbin(*entries: Entry) -> bytes:
    """A container whose payloads tell its entries apart."""
    bodies = []
    for number, entry in enumerate(entries):
        body = make_entry(entry)
        payload = bytes(
            (number * 31 + place * 7 + len(entry.arch)) & 0xFF for place in range(min(entry.stored_size, 64))
        )
        bodies.append(body[:64] + payload.ljust(entry.stored_size, bytes([number])))
    return make_container(bodies)


def sass(arch: str, size: int = 8192) -> Entry:
    return Entry("sass", arch, "none", size, size)


def ptx(arch: str, size: int = 8192) -> Entry:
    return Entry("ptx", arch, "zstd", size, size * 4, "8.7")


@dataclass
class Library:
    """What is to be written; the defaults are as GNU ld writes it, with one PT_NOTE to spare and no symbols."""

    containers: Sequence[bytes]
    version: int = 1
    packed: bool = False  # relocations in the packed form
    in_place: bool = True  # the pointer's own word has the address, too
    room: bool = False  # unused bytes behind the program headers
    notes: Sequence[int] = (4,)  # kinds of the program headers that cover the note
    align: int = 0x1000
    relocations: Sequence[tuple[int, int, int]] = ()  # more of them: place, info, addend
    symbols: Sequence[tuple[str, int, int, int]] = ()  # name, section, value, size
    dynamic_symbols: Sequence[tuple[str, int, int, int]] = ()
    addresses: list[int] = field(init=False)  # of the containers

    def __post_init__(self) -> None:
        self.addresses = []
        at = FATBIN
        for container in self.containers:
            self.addresses.append(at)
            at += len(container)
        self.fatbin_size = at - FATBIN
        end = at + len(RODATA)
        self.data_offset = -(-end // 0x1000) * 0x1000
        self.wrappers = self.data_offset + self.align  # as far apart as GNU ld puts them
        self.dynamic = self.wrappers + 24 * len(self.containers)
        self.data = self.dynamic + 16 * 12
        self.bss = self.data + 8

    def build(self) -> bytes:
        wrappers, relocations = self._wrappers()
        if self.packed:
            table = b"".join(struct.pack("<Q", place) for place, *_ in relocations[:1])
            if len(relocations) > 1:  # the words that follow are three apart
                bits = sum(1 << ((place - relocations[0][0]) // 8) for place, *_ in relocations[1:])
                table += struct.pack("<Q", bits | 1)
            tags = [(36, RELOCATIONS), (35, len(table)), (37, 8)]
        else:
            table = b"".join(struct.pack("<QQq", *each) for each in [*relocations, *self.relocations])
            tags = [(7, RELOCATIONS), (8, len(table)), (9, 24)]
        assert len(table) <= FATBIN - RELOCATIONS
        dynamic = b"".join(struct.pack("<QQ", *tag) for tag in [*tags, (5, DYNSTR), (6, DYNSYM), (0, 0)])
        dynsym, dynstr = _symbols(self.dynamic_symbols)
        symtab, strtab = _symbols(self.symbols)
        segments = self._segments()
        file = bytearray(self.data_offset)
        note_at = 0x300 if self.room else 64 + len(segments)
        for place, body in (
            (64, segments),
            (note_at, b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0" + b"\xab" * 20),
            (DYNSYM, dynsym),
            (DYNSTR, dynstr),
            (RELOCATIONS, table),
            (FATBIN, b"".join(self.containers) + RODATA),
        ):
            file[place : place + len(body)] = body
        file += wrappers + dynamic.ljust(16 * 12, b"\0") + struct.pack("<Q", 0x1234)
        unloaded = len(file)
        names = b"".join(name.encode() + b"\0" for name in SECTIONS)
        file += symtab + strtab + names
        file += bytes(-len(file) % 8)
        symtab_at, strtab_at = unloaded, unloaded + len(symtab)
        shift = self.align
        rows = [
            (0, 0, 0, 0, 0, 0, 0),
            (7, 2, note_at, note_at, NOTE_SIZE, 0, 4),
            (11, 2, DYNSYM, DYNSYM, len(dynsym), 3, 8),
            (3, 2, DYNSTR, DYNSTR, len(dynstr), 0, 1),
            (19 if self.packed else 4, 2, RELOCATIONS, RELOCATIONS, len(table), 2, 8),
            (1, 2, FATBIN, FATBIN, self.fatbin_size, 0, 8),
            (1, 2, FATBIN + self.fatbin_size, FATBIN + self.fatbin_size, len(RODATA), 0, 1),
            (1, 3, self.wrappers, self.wrappers - shift, len(wrappers), 0, 8),
            (6, 3, self.dynamic, self.dynamic - shift, len(dynamic), 3, 8),
            (1, 3, self.data, self.data - shift, 8, 0, 8),
            (8, 3, self.bss, self.bss - shift, 64, 0, 8),
            (2, 0, 0, symtab_at, len(symtab), 12, 8),
            (3, 0, 0, strtab_at, len(strtab), 0, 1),
            (3, 0, 0, strtab_at + len(strtab), len(names), 0, 1),
        ]
        file[:64] = _elf_header(len(file), len(rows), len(segments) // 56)
        name_at = 0
        for name, (kind, flags, address, offset, size, link, align) in zip(SECTIONS, rows, strict=True):
            file += struct.pack("<IIQQQQIIQQ", name_at, kind, flags, address, offset, size, link, 0, align, 0)
            name_at += len(name) + 1
        return bytes(file)

    def _wrappers(self) -> tuple[bytes, list[tuple[int, int, int]]]:
        body, relocations = b"", []
        for index, address in enumerate(self.addresses):
            in_place = address if self.in_place or self.packed else 0
            body += struct.pack("<IIQQ", 0x466243B1, self.version, in_place, self.bss if self.version == 2 else 0)
            relocations.append((self.wrappers + 24 * index + 8, RELATIVE, address))
            if self.version == 2:
                relocations.append((self.wrappers + 24 * index + 16, RELATIVE, self.bss))
        return body, relocations

    def _segments(self) -> bytes:
        end = FATBIN + self.fatbin_size + len(RODATA)
        length = self.data + 8 - self.wrappers
        count = 4 + len(self.notes)
        note_at = 0x300 if self.room else 64 + 56 * count
        rows = [(1, 4, 0, 0, 0, end, end, self.align)]
        rows += [(1, 6, self.data_offset, self.wrappers, self.wrappers, length, length + 64, self.align)]
        rows += [(2, 6, self.dynamic - self.align, self.dynamic, self.dynamic, 16 * 12, 16 * 12, 8)]
        rows += [(kind, 4, note_at, note_at, note_at, NOTE_SIZE, NOTE_SIZE, 4) for kind in self.notes]
        rows += [(0x6474E551, 6, 0, 0, 0, 0, 0, 16)]
        return b"".join(struct.pack("<IIQQQQQQ", *row) for row in rows)


def _symbols(symbols: Sequence[tuple[str, int, int, int]]) -> tuple[bytes, bytes]:
    table, names = bytes(24), b"\0"
    for name, section, value, size in symbols:
        table += struct.pack(
            "<IBBHQQ", len(names), 2 if section not in (0, INDEX[".nv_fatbin"]) else 0, 0, section, value, size
        )
        names += name.encode() + b"\0"
    return table, names


def _elf_header(section_table: int, sections: int, segments: int) -> bytes:
    start = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    return start + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, section_table, 0, 64, 56, segments, 64, sections, sections - 1
    )


class Process:
    """A library in memory at address 0: segments mapped, relocations applied, as a loader would."""

    def __init__(self, data: bytes) -> None:
        table, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
        rows = [struct.unpack_from("<IIQQQQQQ", data, table + 56 * index) for index in range(count)]
        self.kinds = [row[0] for row in rows]
        self.memory: list[tuple[int, bytearray]] = []
        end = 0
        for kind, _, offset, address, _, file_size, memory_size, align in rows:
            if kind != 1:
                continue
            assert address >= end and (address - offset) % align == 0, "a loader refuses this"
            assert offset + file_size <= len(data)
            self.memory.append((address, bytearray(data[offset : offset + file_size].ljust(memory_size, b"\0"))))
            end = -(-(address + memory_size) // 0x1000) * 0x1000
        [self.dynamic] = [row[3] for row in rows if row[0] == 2]
        self._relocate()

    def read(self, address: int, size: int) -> bytes:
        for start, body in self.memory:
            if start <= address and address + size <= start + len(body):
                return bytes(body[address - start : address - start + size])
        raise AssertionError(f"{address:#x} is not mapped")

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def _write(self, address: int, value: int) -> None:
        for start, body in self.memory:
            if start <= address < start + len(body):
                body[address - start : address - start + 8] = value.to_bytes(8, "little")

    def _relocate(self) -> None:
        tags = {self.word(self.dynamic + at): self.word(self.dynamic + at + 8) for at in range(0, 12 * 16, 16)}
        for at in range(0, tags.get(8, 0), 24):
            place, info, addend = struct.unpack("<QQq", self.read(tags[7] + at, 24))
            if info == RELATIVE:
                self._write(place, addend)

    def containers(self, wrappers: int, count: int) -> list[list[bytes]]:
        """What the CUDA runtime finds by the wrappers: the entries of each container, byte for byte."""
        return [self._entries(self.word(wrappers + 24 * index + 8)) for index in range(count)]

    def _entries(self, address: int) -> list[bytes]:
        magic, version, header, size = struct.unpack("<IHHQ", self.read(address, 16))
        assert (magic, version, header) == (0xBA55ED50, 1, 16)
        entries, at = [], address + 16
        while at < address + 16 + size:
            length = sum(struct.unpack("<4xIQ", self.read(at, 16)))
            entries.append(self.read(at, length))
            at += length
        return entries
