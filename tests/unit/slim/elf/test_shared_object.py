from __future__ import annotations

import struct

import pytest

from scripts.gpucode import GpuCodeError
from scripts.slim.elf.shared_object import Untouchable, read_dynamic, read_shared_object
from tests.unit.slim.elf.cases import DATA, MIXED, PLAIN, check_untouched, patched, slim, with_section, with_segment
from tests.unit.slim.elf.made import DYNSYM, FATBIN, INDEX, Library

UNTOUCHED: dict[str, tuple[bytes, str]] = {
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
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_no_loader_of_ours_maps_is_left_alone(name: str) -> None:
    check_untouched(*UNTOUCHED[name])


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (with_segment(PLAIN, 1, 5, 1 << 40), "ends past the end of the file"),
        (with_segment(PLAIN, 0, 4, (1 << 64) - 8), "past the end of memory"),
        (with_segment(PLAIN, 1, 6, 8), "more bytes in the file than in memory"),
        (with_segment(PLAIN, 1, 3, 0), "addresses do not ascend"),
        (with_section(PLAIN, ".rodata", 5, 1 << 40), "section .rodata ends past"),
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes, cause: str) -> None:
    with pytest.raises(GpuCodeError, match=cause):
        slim(data)


def test_segments_sections_and_the_dynamic_table_are_read() -> None:
    shared = read_shared_object(PLAIN, "lib.so")
    assert [segment.kind for segment in shared.segments] == [1, 1, 2, 4, 0x6474E551]
    assert [section.name for section in shared.sections] == list(INDEX)
    assert shared.find(".nv_fatbin").address == FATBIN
    assert shared.read(DATA.data, 8, "the data") == struct.pack("<Q", 0x1234)
    assert read_dynamic(shared)[6] == DYNSYM
    with pytest.raises(Untouchable, match=r"0 sections \.nothing"):
        shared.find(".nothing")
