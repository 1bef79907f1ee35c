from __future__ import annotations

import struct

import pytest

from tests.unit.slim.elf.cases import (
    DATA,
    MIXED,
    PLAIN,
    WRAPPERS_OFFSET,
    check_untouched,
    patched,
    section,
    slim,
    with_section,
)
from tests.unit.slim.elf.made import FATBIN, INDEX, RELATIVE, RELOCATIONS, Library, Process

UNTOUCHED: dict[str, tuple[bytes, str]] = {
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
    "a gap in the addresses": (with_section(PLAIN, ".nv_fatbin", 3, FATBIN + 8), "do not point at"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_refers_to_the_code_otherwise_leaves_it_alone(name: str) -> None:
    check_untouched(*UNTOUCHED[name])


def test_a_second_pointer_into_the_code_is_left_alone() -> None:
    library = Library(MIXED, version=2)
    data = patched(library.build(), RELOCATIONS + 24 + 16, "<q", FATBIN)
    assert "second pointer leads into .nv_fatbin" in slim(data)[1].untouched


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
