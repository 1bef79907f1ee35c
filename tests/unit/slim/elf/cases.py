"""A library with code for several GPUs, ways of damaging it, and what the slimmer makes of it."""

from __future__ import annotations

import struct

from scripts.slim.elf.library import LibraryReport, slim_bytes
from tests.unit.slim.elf.made import INDEX, Library, fatbin, ptx, sass

MIXED = [
    fatbin(sass("80"), sass("90"), sass("120", 520), ptx("120")),
    fatbin(sass("90a"), sass("100a", 4096)),
    fatbin(sass("80"), ptx("80", 264), ptx("75")),
    fatbin(sass("120", 16), sass("120a", 24), sass("90")),
]
DATA = Library(MIXED)
PLAIN = DATA.build()
DYNAMIC_OFFSET = DATA.dynamic - DATA.align
WRAPPERS_OFFSET = DATA.wrappers - DATA.align


def slim(data: bytes, compute: str = "12.0") -> tuple[bytes, LibraryReport]:
    pieces, report = slim_bytes(data, "lib.so", compute)
    return b"".join(pieces) or data, report


def section(data: bytes, name: str) -> list[int]:
    """A section's header: name, kind, flags, address, offset, size, link, info, alignment, size of an entry."""
    table = struct.unpack_from("<Q", data, 40)[0]
    return list(struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * INDEX[name]))


def patched(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    packed = struct.pack(layout, *values)
    return data[:offset] + packed + data[offset + len(packed) :]


def with_section(data: bytes, name: str, field: int, value: int) -> bytes:
    fields = section(data, name)
    fields[field] = value
    table = struct.unpack_from("<Q", data, 40)[0]
    return patched(data, table + 64 * INDEX[name], "<IIQQQQIIQQ", *fields)


def with_segment(data: bytes, index: int, field: int, value: int) -> bytes:
    fields = list(struct.unpack_from("<IIQQQQQQ", data, 64 + 56 * index))
    fields[field] = value
    return patched(data, 64 + 56 * index, "<IIQQQQQQ", *fields)


def check_untouched(data: bytes, reason: str) -> None:
    """Nothing is made of it, and the report says why."""
    pieces, report = slim_bytes(data, "lib.so", "12.0")
    assert reason in report.untouched
    assert pieces == []
    assert (report.before, report.after, report.removed) == (len(data), len(data), 0)
