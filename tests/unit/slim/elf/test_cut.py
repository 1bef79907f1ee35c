from __future__ import annotations

import struct

import pytest

from tests.unit.slim.elf.cases import MIXED, PLAIN, check_untouched, slim, with_section, with_segment
from tests.unit.slim.elf.made import FATBIN, Library, Process, fatbin, sass

UNTOUCHED: dict[str, tuple[bytes, str]] = {
    "notes of another kind": (with_section(PLAIN, ".nv_fatbin", 1, 7), "of a kind of its own"),
    "compressed section": (with_section(PLAIN, ".nv_fatbin", 2, 0x802), "of a kind of its own"),
    "writable code": (with_segment(PLAIN, 0, 1, 6), ".nv_fatbin can be written to"),
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
def test_what_cannot_be_cut_is_left_alone(name: str) -> None:
    check_untouched(*UNTOUCHED[name])


@pytest.mark.parametrize(("notes", "lost"), [((4,), {4}), ((4, 0x6474E553), {0x6474E553}), ((0, 4), {0})])
def test_the_header_comes_from_what_is_needed_least(notes: tuple[int, ...], lost: set[int]) -> None:
    data = Library(MIXED, notes=notes).build()
    assert set(Process(data).kinds) - set(Process(slim(data)[0]).kinds) == lost


def test_a_table_that_can_grow_loses_nothing() -> None:
    data = Library(MIXED, room=True, notes=(6, 4)).build()  # 6: the header of the headers, which have to be in it
    new = slim(data)[0]
    assert Process(new).kinds == [1, 1, 1, 2, 6, 4, 0x6474E551]
    size = struct.unpack_from("<IIQQQQQQ", new, 64 + 56 * 4)[5]
    assert size == struct.unpack_from("<IIQQQQQQ", data, 64 + 56 * 3)[5] + 56


def test_larger_alignment_is_kept() -> None:
    large = [fatbin(sass("90", 3 << 20), sass("120"))]
    library = Library(large, align=0x200000)
    data = library.build()
    new, report = slim(data)
    assert not report.untouched
    assert (len(data) - len(new)) % 0x200000 == 0 < len(data) - len(new)
    assert Process(new).containers(library.wrappers, 1) == [Process(data).containers(library.wrappers, 1)[0][1:]]
