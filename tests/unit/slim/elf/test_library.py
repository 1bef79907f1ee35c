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
from tests.unit.slim.elf.cases import MIXED, PLAIN, check_untouched, patched, section, slim, with_section
from tests.unit.slim.elf.made import FATBIN, INDEX, RODATA, Library, Process, fatbin, ptx, sass

KEPT = [[2], [1], [1], [0, 1]]
SECONDS = 2.0


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

UNTOUCHED: dict[str, tuple[bytes, str]] = {
    "no GPU code": (Library([]).build(), "no GPU code"),
    "all of it used": (Library([fatbin(sass("120"))]).build(), "nothing that the target cannot use"),
    "alignment of the section": (with_section(PLAIN, ".nv_fatbin", 8, 24), "not aligned as it says"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_not_to_be_rewritten_is_left_alone(name: str) -> None:
    check_untouched(*UNTOUCHED[name])


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
