"""ELF files with fatbin containers, written for tests by the format's description and not by the reader's code."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from scripts.gpucode import Entry

FIXTURES = Path(__file__).parents[2] / "data/gpucode"

KIND = {"ptx": 1, "sass": 2, "other": 8}
SUFFIX = {"": 0, "a": 0x100000, "f": 0x200000}
COMPRESSION = {"none": 0, "lz4": 0x2000, "zstd": 0x8000}


def make_entry(entry: Entry, extra_header: int = 0, flags: int = 0x11) -> bytes:
    """An entry with a payload of 0xEE bytes, and `extra_header` more bytes of header than there have to be."""
    digits = entry.arch.rstrip("af")
    flags |= SUFFIX[entry.arch[len(digits) :]] | COMPRESSION[entry.compression]
    major, _, minor = (entry.ptx_version or "1.8").partition(".")
    compressed = entry.compression != "none"
    header = struct.pack("<HHIQ", KIND[entry.kind], 0x0101, 64 + extra_header, entry.stored_size)
    header += struct.pack("<IIHHI", entry.stored_size if compressed else 0, 0, int(minor), int(major), int(digits))
    header += struct.pack("<QQQQ", 0, flags, 0, entry.size if compressed else 0)
    return header + bytes(extra_header) + b"\xee" * entry.stored_size


def make_container(entries: Sequence[bytes]) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def make_elf(sections: Sequence[tuple[str, bytes]], *, names_last: bool = True, wide: bool = False) -> bytes:
    """A shared object of these sections; `wide` keeps their number where it is when it does not fit into 16 bits."""
    strings = b"\0" + b"".join(f"{name}\0".encode() for name, _ in sections) + b".shstrtab\0"
    offset = 64
    bodies, headers = b"", []
    name_at = 1
    for name, body in sections:
        headers.append(section_header(name_at, 1, offset, len(body)))
        bodies += body
        offset += len(body)
        name_at += len(name) + 1
    names = section_header(name_at, 3, offset, len(strings))
    bodies += strings
    count = len(headers) + 2
    index = count - 1 if names_last else 1
    headers = [*headers, names] if names_last else [names, *headers]
    first = section_header(0, 0, 0, count if wide else 0, link=index if wide else 0)
    return (
        elf_header(64 + len(bodies), 0 if wide else count, 0xFFFF if wide else index)
        + bodies
        + first
        + b"".join(headers)
    )


def section_header(name: int, kind: int, offset: int, size: int, link: int = 0) -> bytes:
    return struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, link, 0, 8, 0)


def elf_header(table: int, count: int, names: int, entry_size: int = 64) -> bytes:
    start = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    return start + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 0, 0, entry_size, count, names)
