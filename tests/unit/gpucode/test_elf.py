from __future__ import annotations

import ast
import pickle
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.gpucode import elf
from scripts.gpucode.elf import GpuCodeError, Headers, Section, find_sections
from tests.unit.builders import REPOSITORY_ROOT
from tests.unit.gpucode import elf_header, make_elf, section_header

_NAMES = [".nv_fatbin", "__nv_relfatbin", ".text", ".nv_fatbin2", ".nv_fat", "nv_fatbin", ""]


def find(data: bytes, *names: str) -> list[Section] | None:
    return find_sections(Headers(data, "lib.so"), names or (".nv_fatbin", "__nv_relfatbin"))


def refusal(data: bytes) -> str:
    with pytest.raises(GpuCodeError) as caught:
        find(data)
    return str(caught.value)


@given(
    st.lists(st.tuples(st.sampled_from(_NAMES), st.binary(max_size=40)), max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_sections_are_found_by_their_whole_name(
    sections: list[tuple[str, bytes]], names_last: bool, wide: bool
) -> None:
    data = make_elf(sections, names_last=names_last, wide=wide)
    found = find(data)
    assert found is not None
    assert [(section.name, data[section.offset : section.end]) for section in found if section.size] == [
        (name, body) for name, body in sections if name in (".nv_fatbin", "__nv_relfatbin") and body
    ]


def test_more_sections_than_16_bits_can_count_are_counted_elsewhere() -> None:
    data = make_elf([(".text", b"")] * 66_000 + [(".nv_fatbin", b"here")], wide=True)
    assert [section.size for section in find(data) or ()] == [4]


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"#!/bin/sh\n", b"INPUT(libc.so.6)", b"MZ" + bytes(200), bytes(64)])
def test_what_is_no_elf_file_has_no_sections_and_is_no_error(data: bytes) -> None:
    assert find(data) is None


def test_an_elf_file_without_gpu_code_has_none() -> None:
    assert find(make_elf([(".text", b"code")])) == []


def test_bytes_that_were_split_off_are_not_looked_for_here() -> None:
    data = make_elf([(".nv_fatbin", b"here")])
    at = len(data) - 2 * 64
    assert find(data[:at] + section_header(1, 8, 64, 1 << 40) + data[at + 64 :]) == []


# --- files that are broken, foreign or hostile


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\x7fELF", "the ELF header is cut short"),
        (b"\x7fELF" + bytes(59), "the ELF header is cut short"),
        (b"\x7fELF\x01\x01" + bytes(58), "not a 64-bit little-endian"),
        (b"\x7fELF\x02\x02" + bytes(58), "not a 64-bit little-endian"),
        (elf_header(0, 0, 0), "no section table"),
        (elf_header(64, 1, 0), "the section table is cut short"),
        (elf_header(1 << 63, 1, 0), "the section table is cut short"),
        (elf_header(64, 1, 0, entry_size=0) + bytes(64), "section headers of 0 bytes"),
        (elf_header(64, 1, 0, entry_size=40) + bytes(64), "section headers of 40 bytes"),
        (elf_header(64, 0, 0) + bytes(64), "section 0, which has the names, is not one of 0"),
        (elf_header(64, 2, 2) + bytes(128), "section 2, which has the names, is not one of 2"),
        (elf_header(64, 2, 0) + bytes(64), "the section table is cut short"),
        (elf_header(64, 1, 0) + section_header(0, 3, 128, 1), "names lie past the end"),
        (elf_header(64, 0, 0) + section_header(0, 0, 0, 1 << 63), "names lie past the end"),
        (elf_header(64, 0, 1) + section_header(0, 0, 0, 1 << 63), "the section table is cut short"),
    ],
)
def test_what_an_elf_file_says_of_itself_is_not_believed(data: bytes, cause: str) -> None:
    assert cause in refusal(data)


@pytest.mark.parametrize(("offset", "size"), [(64, 1 << 63), ((1 << 64) - 1, 1), (1 << 40, 0), (300, 10)])
def test_a_section_past_the_end_is_refused(offset: int, size: int) -> None:
    data = make_elf([(".nv_fatbin", b"here")])
    at = len(data) - 2 * 64
    assert "ends past the end of the file" in refusal(data[:at] + section_header(1, 1, offset, size) + data[at + 64 :])


def test_sections_that_overlap_are_refused_for_reading_them_twice_could_take_forever() -> None:
    strings = b"\0.nv_fatbin\0"
    headers = section_header(0, 3, 64, len(strings)) + section_header(1, 1, 64, 8) * 2
    data = elf_header(64 + len(strings), 3, 0) + strings + headers
    assert refusal(data).endswith("sections .nv_fatbin and .nv_fatbin overlap")


def test_no_file_makes_it_read_on_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "MAX_HEADERS", 50)
    assert find(make_elf([(".text", b"")] * 40)) == []
    assert refusal(make_elf([(".text", b"")] * 60)).endswith("more than 50 headers")


# --- the error, and what the package stands on


def test_an_error_names_file_byte_and_cause_and_survives_between_processes() -> None:
    with pytest.raises(GpuCodeError) as caught:
        find(elf_header(0x1234, 1, 0))
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.place, error.cause) == ("lib.so at byte 0x1234", "the section table is cut short")
    assert str(error) == "lib.so at byte 0x1234: the section table is cut short"


def test_headers_are_read_up_to_the_given_end_and_not_past_it() -> None:
    headers = Headers(struct.pack("<II", 1, 2), "x")
    assert headers.read(struct.Struct("<I"), 4, "it") == (2,)
    for offset, end in [(5, None), (4, 7), (1 << 70, None)]:
        with pytest.raises(GpuCodeError, match="it is cut short"):
            headers.read(struct.Struct("<I"), offset, "it", end)


def test_it_can_be_copied_into_an_image_as_it_is() -> None:
    for path in (REPOSITORY_ROOT / "scripts/gpucode").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 10))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        foreign = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
        assert {name for name in foreign if not name.startswith("scripts.gpucode.")} == set()
