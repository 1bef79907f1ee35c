from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.gpucode import Entry, GpuCodeError, parse_gpu_code
from scripts.slim.elf.choose import choose_entries
from scripts.slim.elf.library import LibraryReport, slim_bytes, slim_library
from tests.unit.gpucode import FIXTURES
from tests.unit.slim.elf.made import (
    DYNSYM,
    FATBIN,
    INDEX,
    RELATIVE,
    RELOCATIONS,
    RODATA,
    Library,
    Process,
    fatbin,
    ptx,
    sass,
)

MIXED = [
    fatbin(sass("80"), sass("90"), sass("120", 520), ptx("120")),
    fatbin(sass("90a"), sass("100a", 4096)),
    fatbin(sass("80"), ptx("80", 264), ptx("75")),
    fatbin(sass("120", 16), sass("120a", 24), sass("90")),
]
KEPT = [[2], [1], [1], [0, 1]]
SECONDS = 2.0


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


# --- what a process sees

VARIANTS = {
    "as GNU ld writes it": Library(MIXED),
    "as lld writes it": Library(MIXED, in_place=False),
    "packed relocations": Library(MIXED, packed=True),
    "device-linked": Library(MIXED, version=2),
    "room for a header": Library(MIXED, room=True, notes=()),
    "a property note": Library(MIXED, notes=(4, 0x6474E553)),
    "an entry without meaning": Library(MIXED, notes=(0, 4)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_process_finds_the_kept_code_and_everything_else_where_it_was(name: str) -> None:
    library = VARIANTS[name]
    data = library.build()
    new, report = slim(data)
    assert report == LibraryReport(len(data), len(new), 4, 12, 7)
    assert len(new) < len(data) - 40_000
    before, after = Process(data), Process(new)
    old = before.containers(library.wrappers, 4)
    assert after.containers(library.wrappers, 4) == [
        [entries[index] for index in kept] for entries, kept in zip(old, KEPT, strict=True)
    ]
    rodata = FATBIN + library.fatbin_size
    assert after.read(rodata, len(RODATA)) == before.read(rodata, len(RODATA)) == RODATA
    assert after.read(library.data, 72) == before.read(library.data, 72)
    assert after.read(library.dynamic, 192) == before.read(library.dynamic, 192)
    assert after.kinds.count(1) == 3


@pytest.mark.parametrize(
    ("name", "lost"),
    [("as GNU ld writes it", {4}), ("a property note", {0x6474E553}), ("an entry without meaning", {0})],
)
def test_the_header_comes_from_what_is_needed_least(name: str, lost: set[int]) -> None:
    data = VARIANTS[name].build()
    assert set(Process(data).kinds) - set(Process(slim(data)[0]).kinds) == lost


def test_a_table_that_can_grow_loses_nothing() -> None:
    data = Library(MIXED, room=True, notes=(6, 4)).build()  # 6: the header of the headers, which have to be in it
    new = slim(data)[0]
    assert Process(new).kinds == [1, 1, 1, 2, 6, 4, 0x6474E551]
    size = struct.unpack_from("<IIQQQQQQ", new, 64 + 56 * 4)[5]
    assert size == struct.unpack_from("<IIQQQQQQ", data, 64 + 56 * 3)[5] + 56


@pytest.mark.parametrize("name", VARIANTS)
def test_slimming_twice_changes_nothing(name: str) -> None:
    data = VARIANTS[name].build()
    once = slim(data)[0]
    twice, report = slim_bytes(once, "lib.so", "12.0")
    assert twice == []
    assert report.untouched == "it has nothing that the target cannot use"
    assert slim(data)[0] == once


def test_sections_say_where_things_are_now() -> None:
    data = Library(MIXED).build()
    new, _ = slim(data)
    for name in INDEX:
        old_header, header = section(data, name), section(new, name)
        if name == ".nv_fatbin":
            assert header[5] < old_header[5]
            continue
        if name not in (".rela.dyn", ".nvFatBinSegment", "", ".bss"):
            assert new[header[4] :][: header[5]] == data[old_header[4] :][: old_header[5]], name
        assert (header[:4], header[5:]) == (old_header[:4], old_header[5:])
    containers = parse_gpu_code(new, "new") or ()
    assert [[f"{entry.kind} {entry.arch}" for entry in container.entries] for container in containers] == [
        ["sass 120"],
        ["sass 100a"],
        ["ptx 80"],
        ["sass 120", "sass 120a"],
    ]


def test_symbols_move_with_their_containers() -> None:
    plain = Library(MIXED)
    fatbin_index = INDEX[".nv_fatbin"]
    symbols = [("fatbinData", fatbin_index, address, 0) for address in plain.addresses]
    symbols += [("sized", fatbin_index, plain.addresses[1], len(MIXED[1])), ("other", INDEX[".rodata"], 0x10, 4)]
    library = Library(MIXED, symbols=symbols)
    new, report = slim(library.build())
    assert not report.untouched
    offset = section(new, ".symtab")[4] + 24
    process = Process(new)
    pointers = [process.word(library.wrappers + 24 * index + 8) for index in range(4)]
    read = [struct.unpack_from("<IBBHQQ", new, offset + 24 * index)[4:] for index in range(6)]
    length = 16 + struct.unpack("<8xQ", process.read(pointers[1], 16))[0]
    assert read == [*((pointer, 0) for pointer in pointers), (pointers[1], length), (0x10, 4)]


def test_the_symbol_of_the_section_itself_stays() -> None:
    library = Library(MIXED, symbols=[("", INDEX[".nv_fatbin"], FATBIN, 0)])
    data = library.build()
    data = patched(data, section(data, ".symtab")[4] + 24 + 4, "<B", 3)  # STT_SECTION
    new, report = slim(data)
    assert not report.untouched
    assert struct.unpack_from("<Q", new, section(new, ".symtab")[4] + 24 + 8)[0] == FATBIN


def test_larger_alignment_is_kept() -> None:
    large = [fatbin(sass("90", 3 << 20), sass("120"))]
    library = Library(large, align=0x200000)
    data = library.build()
    new, report = slim(data)
    assert not report.untouched
    assert (len(data) - len(new)) % 0x200000 == 0 < len(data) - len(new)
    assert Process(new).containers(library.wrappers, 1) == [Process(data).containers(library.wrappers, 1)[0][1:]]


def test_a_file_is_written_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    data = Library(MIXED).build()
    source = tmp_path / "a.so"
    source.write_bytes(data)
    source.chmod(0o750)
    report = slim_library(source, tmp_path / "b.so", "12.0")
    assert (tmp_path / "b.so").read_bytes() == slim(data)[0]
    assert (tmp_path / "b.so").stat().st_mode & 0o777 == 0o750
    assert report.after == (tmp_path / "b.so").stat().st_size
    assert slim_library(tmp_path / "b.so", tmp_path / "c.so", "12.0").untouched
    assert (tmp_path / "c.so").read_bytes() == (tmp_path / "b.so").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.so", "b.so", "c.so"]


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("*.*o")))
def test_what_nvcc_wrote_is_slimmed_or_left_alone(name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    _, report = slim(data)
    assert report.untouched  # each has but a page or two


# --- what is left as it is, and why

DATA = Library(MIXED)
PLAIN = DATA.build()
DYNAMIC_OFFSET = DATA.dynamic - DATA.align
WRAPPERS_OFFSET = DATA.wrappers - DATA.align
UNTOUCHED: dict[str, tuple[bytes, str]] = {
    "no GPU code": (Library([]).build(), "no GPU code"),
    "all of it used": (Library([fatbin(sass("120"))]).build(), "nothing that the target cannot use"),
    "another machine": (patched(PLAIN, 18, "<H", 183), "not a shared object for x86-64"),
    "an object file": (patched(PLAIN, 16, "<H", 1), "not a shared object for x86-64"),
    "no program headers": (patched(PLAIN, 56, "<H", 0), "0 program headers"),
    "short program headers": (patched(PLAIN, 54, "<H", 32), "program headers of 32 bytes"),
    "too many segments": (Library(MIXED, room=False, notes=(1,) * 16).build(), "segments are mapped"),
    "odd alignment": (with_segment(PLAIN, 0, 7, 0x1001), "is aligned to 0x1001 bytes"),
    "small alignment": (with_segment(PLAIN, 0, 7, 16), "is aligned to 0x10 bytes"),
    "two dynamic tables": (Library(MIXED, notes=(2,)).build(), "2 dynamic tables"),
    "no dynamic table": (with_segment(PLAIN, 2, 0, 4), "0 dynamic tables"),
    "unmapped dynamic table": (with_segment(PLAIN, 2, 3, 0x900000), "the dynamic table at address 0x900000"),
    "REL": (patched(PLAIN, DYNAMIC_OFFSET + 48, "<QQ", 17, 0), "a kind that x86-64 Linux does not use"),
    "unmapped relocations": (patched(PLAIN, DYNAMIC_OFFSET, "<QQ", 7, 0x900000), "a relocation table at address"),
    "other symbols": (patched(PLAIN, DYNAMIC_OFFSET + 64, "<QQ", 6, DYNSYM + 8), "not where its sections say"),
    "two symbol tables": (with_section(PLAIN, ".symtab", 1, 11), "it has 2 symbol tables"),
    "the linker's relocations": (with_section(PLAIN, ".symtab", 1, 4), "keeps the linker's own relocations"),
    "no wrappers": (with_section(PLAIN, ".nvFatBinSegment", 0, 1), "0 sections .nvFatBinSegment"),
    "half a wrapper": (with_section(PLAIN, ".nvFatBinSegment", 5, 90), ".nvFatBinSegment has 90 bytes"),
    "wrappers elsewhere": (with_section(PLAIN, ".nvFatBinSegment", 3, DATA.wrappers + 8), "not where its header says"),
    "no wrapper at all": (patched(PLAIN, WRAPPERS_OFFSET, "<I", 7), "other than a wrapper of version 1 or 2"),
    "wrapper of version 3": (patched(PLAIN, WRAPPERS_OFFSET + 4, "<I", 3), "other than a wrapper of version 1 or 2"),
    "a wrapper with more": (patched(PLAIN, WRAPPERS_OFFSET + 16, "<Q", 1), "version 1 has a second pointer"),
    "two values": (patched(PLAIN, WRAPPERS_OFFSET + 8, "<Q", 8), "and its relocation disagree"),
    "no relocation": (
        patched(PLAIN, RELOCATIONS, "<QQq", DATA.data, RELATIVE, 0x10),
        "a wrapper's pointer is not relocated",
    ),
    "a symbol's relocation": (patched(PLAIN, RELOCATIONS + 8, "<Q", 1), "of a kind or number"),
    "two relocations": (
        Library(MIXED, relocations=[(DATA.wrappers + 8, RELATIVE, FATBIN)]).build(),
        "of a kind or number",
    ),
    "a relocation between": (
        Library(MIXED, relocations=[(DATA.wrappers + 4, RELATIVE, 0x10)]).build(),
        "not of a wrapper's pointer",
    ),
    "a relocation of the code": (
        Library(MIXED, relocations=[(FATBIN + 8, RELATIVE, 0x10)]).build(),
        "a relocation changes .nv_fatbin itself",
    ),
    "a pointer from elsewhere": (
        Library(MIXED, relocations=[(DATA.data, RELATIVE, DATA.addresses[1])]).build(),
        "something outside .nvFatBinSegment points into .nv_fatbin",
    ),
    "a pointer by symbol": (
        Library(
            MIXED,
            dynamic_symbols=[("x", INDEX[".rodata"], 0x10, 0)],
            relocations=[(DATA.data, 1 << 32 | 1, FATBIN)],
        ).build(),
        "something outside .nvFatBinSegment points into .nv_fatbin",
    ),
    "a wrapper too many": (patched(PLAIN, RELOCATIONS + 40, "<q", FATBIN), "a wrapper's pointer and its"),
    "two to one": (
        patched(patched(PLAIN, RELOCATIONS + 40, "<q", FATBIN), WRAPPERS_OFFSET + 32, "<Q", FATBIN),
        "4 wrappers do not point at 4 containers one to one",
    ),
    "to the middle": (
        patched(patched(PLAIN, RELOCATIONS + 16, "<q", FATBIN + 8), WRAPPERS_OFFSET + 8, "<Q", FATBIN + 8),
        "do not point at 4 containers one to one",
    ),
    "none to one": (
        patched(patched(PLAIN, RELOCATIONS + 16, "<q", 0x10), WRAPPERS_OFFSET + 8, "<Q", 0x10),
        "3 wrappers do not point at 4 containers one to one",
    ),
    "an exported symbol": (
        Library(MIXED, dynamic_symbols=[("x", INDEX[".nv_fatbin"], FATBIN, 0)]).build(),
        "a symbol lies in .nv_fatbin",
    ),
    "a symbol in the middle": (
        Library(MIXED, symbols=[("x", INDEX[".nv_fatbin"], FATBIN + 8, 0)]).build(),
        "a symbol lies in .nv_fatbin",
    ),
    "a symbol of another section": (
        Library(MIXED, symbols=[("x", INDEX[".rodata"], FATBIN, 0)]).build(),
        "a symbol lies in .nv_fatbin",
    ),
    "a symbol of another length": (
        Library(MIXED, symbols=[("x", INDEX[".nv_fatbin"], FATBIN, 8)]).build(),
        "not as long as its container",
    ),
    "NVIDIA's code": (
        Library(MIXED, symbols=[("cublasLtCreate", INDEX[".rodata"], 0x10, 8)]).build(),
        "it has NVIDIA's cublasLt linked into it",
    ),
    "notes of another kind": (with_section(PLAIN, ".nv_fatbin", 1, 7), "of a kind of its own"),
    "compressed section": (with_section(PLAIN, ".nv_fatbin", 2, 0x802), "of a kind of its own"),
    "alignment of the section": (with_section(PLAIN, ".nv_fatbin", 8, 24), "not aligned as it says"),
    "writable code": (with_segment(PLAIN, 0, 1, 6), ".nv_fatbin can be written to"),
    "a gap in the addresses": (with_section(PLAIN, ".nv_fatbin", 3, FATBIN + 8), "do not point at"),
    "another section in it": (with_section(PLAIN, ".rodata", 4, FATBIN + 64), "something else lies in .nv_fatbin"),
    "another segment in it": (with_segment(PLAIN, 3, 2, FATBIN + 64), "something else lies in .nv_fatbin"),
    "an empty section in it": (
        with_section(with_section(PLAIN, ".rodata", 4, FATBIN + 64), ".rodata", 5, 0),
        "something else lies in .nv_fatbin",
    ),
    "less than a page": (Library([fatbin(sass("90", 64), sass("120", 64))]).build(), "less than 4096 bytes"),
    "no header to spare": (Library(MIXED, notes=()).build(), "no program header is free"),
    "only a property": (Library(MIXED, notes=(0x6474E553,)).build(), "no program header is free"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_not_understood_is_left_alone(name: str) -> None:
    data, reason = UNTOUCHED[name]
    pieces, report = slim_bytes(data, "lib.so", "12.0")
    assert reason in report.untouched
    assert pieces == []
    assert (report.before, report.after, report.removed) == (len(data), len(data), 0)


def test_a_second_pointer_into_the_code_is_left_alone() -> None:
    library = Library(MIXED, version=2)
    data = patched(library.build(), RELOCATIONS + 24 + 16, "<q", FATBIN)
    assert "second pointer leads into .nv_fatbin" in slim(data)[1].untouched


def test_what_is_nvidias_is_only_looked_at() -> None:
    pieces, report = slim_bytes(PLAIN, "libcublas.so.12", "12.0", keep=True)
    assert not pieces
    assert report.untouched == "it is a library of NVIDIA's, which may not be modified"
    assert report.entries == 12


# --- what is damaged


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (PLAIN[:5000], "cut short"),
        (patched(PLAIN, FATBIN + len(MIXED[0]), "<I", 7), "something other than a fatbin container"),
        (with_segment(PLAIN, 1, 5, 1 << 40), "ends past the end of the file"),
        (with_segment(PLAIN, 0, 4, (1 << 64) - 8), "past the end of memory"),
        (with_segment(PLAIN, 1, 6, 8), "more bytes in the file than in memory"),
        (with_segment(PLAIN, 1, 3, 0), "addresses do not ascend"),
        (with_section(PLAIN, ".rodata", 5, 1 << 40), "section .rodata ends past"),
        (patched(PLAIN, DYNAMIC_OFFSET + 16, "<QQ", 8, 25), "a relocation table of 25 bytes"),
        (patched(PLAIN, RELOCATIONS + 8, "<Q", 5 << 32 | 1), "names symbol 5 of 1"),
        (with_section(PLAIN, ".symtab", 5, 23), "a symbol table of 23 bytes"),
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes, cause: str) -> None:
    with pytest.raises(GpuCodeError, match=cause):
        slim(data)


def in_time(data: bytes) -> None:
    before = time.perf_counter()
    with suppress(GpuCodeError):
        slim(data)
    assert time.perf_counter() - before < SECONDS


SMALL = Library([fatbin(sass("90", 9000), sass("120", 16)), fatbin(sass("80", 16), ptx("80", 16))], version=2)
SMALL_BYTES = {
    "plain": SMALL.build(),
    "packed": Library(SMALL.containers, packed=True).build(),
    "symbols": Library(SMALL.containers, symbols=[("x", INDEX[".nv_fatbin"], FATBIN, 0)]).build(),
}


@given(st.sampled_from(sorted(SMALL_BYTES)), st.data())
@settings(max_examples=100, deadline=None)
def test_a_file_cut_short_is_refused(name: str, draw: st.DataObject) -> None:
    data = SMALL_BYTES[name]
    in_time(data[: draw.draw(st.integers(0, len(data) - 1))])


def _spans(data: bytes) -> Sequence[tuple[int, int]]:
    """What is read of a file beside payloads: headers, tables, wrappers and the containers' own headers."""
    table = struct.unpack_from("<Q", data, 40)[0]
    found = [(0, 64 + 56 * 5), (table, len(data) - table), (FATBIN, 80)]
    for name in (".rela.dyn", ".nvFatBinSegment", ".dynamic", ".symtab"):
        _, _, _, _, offset, length, *_ = section(data, name)
        found.append((offset, length))
    return [(start, size) for start, size in found if size]


@given(st.sampled_from(sorted(SMALL_BYTES)), st.integers(0, 1 << 20), st.sampled_from((1, 2, 4, 8)), st.data())
@settings(max_examples=400, deadline=None)
def test_headers_changed_are_refused_or_understood(name: str, place: int, width: int, draw: st.DataObject) -> None:
    data = SMALL_BYTES[name]
    start, size = draw.draw(st.sampled_from(_spans(data)))
    value = draw.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
    at = min(start + place % size, len(data) - width)
    in_time(data[:at] + bytes([value]) * width + data[at + width :])


# --- whatever the containers

_ARCHS = st.sampled_from(("75", "80", "86", "90", "90a", "100", "100f", "120", "120a", "120f", "121"))
_SIZES = st.integers(0, 1500).map(lambda size: size * 8)
_ENTRIES: st.SearchStrategy[Entry] = st.builds(sass, _ARCHS, _SIZES) | st.builds(ptx, _ARCHS, _SIZES.filter(bool))
_CONTAINERS = st.lists(st.lists(_ENTRIES, max_size=6), min_size=1, max_size=5)
_SHAPES: dict[str, Callable[[Sequence[bytes]], Library]] = {
    "plain": lambda containers: Library(containers),
    "device-linked": lambda containers: Library(containers, version=2, room=True),
    "packed": lambda containers: Library(containers, packed=True),
}


@given(_CONTAINERS, st.sampled_from(sorted(_SHAPES)), st.sampled_from(("8.9", "9.0", "12.0")))
@settings(max_examples=150, deadline=None)
def test_what_is_kept_is_what_was_chosen(made: list[list[Entry]], shape: str, compute: str) -> None:
    library = _SHAPES[shape]([fatbin(*entries) for entries in made])
    data = library.build()
    new, report = slim(data, compute)
    old = Process(data).containers(library.wrappers, len(made))
    found = Process(new).containers(library.wrappers, len(made))
    if report.untouched:
        assert new == data
        return
    assert found == [
        [bodies[index] for index in choose_entries(entries, compute)] for bodies, entries in zip(old, made, strict=True)
    ]
    assert slim(new, compute)[0] == new
    assert sum(map(len, found)) == report.entries - report.removed
