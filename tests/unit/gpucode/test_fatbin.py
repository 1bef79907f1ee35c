from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from scripts.gpucode import Compression, Container, Entry, GpuCodeError, Kind, elf, parse_gpu_code, read_gpu_code
from tests.gpucode_oracle import count_with_reader
from tests.unit.gpucode import FIXTURES, make_container, make_elf, make_entry

COUNTS: dict[str, dict[str, int]] = json.loads((FIXTURES / "counts.json").read_text("utf-8"))
BYTES = {name: (FIXTURES / name).read_bytes() for name in COUNTS}
SECTIONS = (".nv_fatbin", "__nv_relfatbin")
SECONDS = 1.0  # for any file of the size of a fixture; a sound one takes a thousandth


def entries_of(name: str) -> list[Entry]:
    return [entry for container in read_gpu_code(FIXTURES / name) or () for entry in container.entries]


def refusal(data: bytes) -> str:
    with pytest.raises(GpuCodeError) as caught:
        parse_gpu_code(data, "lib.so")
    return caught.value.cause


def in_time(data: bytes) -> tuple[Container, ...] | None:
    """What there is in these bytes, or nothing if they are refused: either has to come soon, and nothing else may."""
    before = time.perf_counter()
    try:
        return parse_gpu_code(data, "mutant")
    except GpuCodeError as error:
        assert error.place.startswith("mutant at byte 0x")
        return None
    finally:
        assert time.perf_counter() - before < SECONDS


# --- what nvcc writes (tests/data/gpucode/make.py)


def test_every_fixture_has_its_counts_and_all_are_small() -> None:
    assert set(COUNTS) == {path.name for path in FIXTURES.iterdir()} - {"make.py", "counts.json", "__pycache__"}
    assert sum(map(len, BYTES.values())) < 200_000


@pytest.mark.parametrize("name", COUNTS)
def test_the_reader_counts_what_cuobjdump_counts(name: str) -> None:
    containers = read_gpu_code(FIXTURES / name)
    assert containers is not None
    assert count_with_reader(containers) == COUNTS[name]


def test_the_fixtures_have_every_suffix_and_every_compression() -> None:
    entries = [entry for name in COUNTS for entry in entries_of(name)]
    found = {(entry.kind, entry.arch.lstrip("0123456789")) for entry in entries}
    assert found == {(kind, suffix) for kind in ("sass", "ptx") for suffix in ("", "a", "f")} | {("other", "")}
    found = {(entry.kind, entry.compression) for entry in entries}
    assert found >= {(kind, how) for kind in ("sass", "ptx") for how in ("none", "lz4", "zstd")}


@pytest.mark.parametrize(
    ("name", "archs"),
    [
        ("plain.so", ["sass 90", "ptx 90", "sass 120", "ptx 120"]),
        ("specific.so", ["sass 90a", "ptx 90a", "sass 120a", "ptx 120a"]),
        ("family.so", ["sass 100f", "sass 120f", "ptx 120f"]),
        ("several.so", ["sass 80", "ptx 120", "sass 80", "ptx 120"]),
        ("relocatable.o", ["sass 90", "ptx 90", "other 90"]),
        ("linked.so", ["sass 90", "sass 90"]),
        ("host.so", []),
    ],
)
def test_suffixes_are_those_that_nvcc_was_asked_for(name: str, archs: list[str]) -> None:
    assert [f"{entry.kind} {entry.arch}" for entry in entries_of(name)] == archs


def test_sizes_are_those_of_the_code() -> None:
    compressed = {entry.arch: entry for entry in entries_of("zstd.so") if entry.kind == "sass"}
    plain = {entry.arch: entry for entry in entries_of("plain.so") if entry.kind == "sass"}
    assert compressed["90"].stored_size < compressed["90"].size == plain["90"].size == plain["90"].stored_size


def test_ptx_says_its_version_as_its_text_does() -> None:
    assert b"\n.version 9.0\n" in BYTES["plain.so"]
    assert {entry.ptx_version for entry in entries_of("plain.so") if entry.kind == "ptx"} == {"9.0"}
    assert {entry.ptx_version for entry in entries_of("plain.so") if entry.kind == "sass"} == {""}


def test_the_device_linkers_input_is_told_from_what_it_linked() -> None:
    containers = read_gpu_code(FIXTURES / "linked.so") or ()
    assert [(container.section, container.relocatable) for container in containers] == [
        ("__nv_relfatbin", True),
        (".nv_fatbin", False),
    ]


def test_a_container_is_where_it_says() -> None:
    for name, data in BYTES.items():
        for container in read_gpu_code(FIXTURES / name) or ():
            assert data[container.offset :][:4] == bytes.fromhex("50ed55ba")


# --- what is no GPU code, and what is no file


def test_no_elf_file_and_no_gpu_code_are_two_answers(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("script", "empty", "pipe", "."):
        assert read_gpu_code(tmp_path / name) is None
    assert read_gpu_code(FIXTURES / "host.so") == ()
    with pytest.raises(FileNotFoundError):
        read_gpu_code(tmp_path / "missing")


def test_the_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.so"
    path.write_bytes(BYTES["plain.so"][:5000])
    with pytest.raises(GpuCodeError, match=r"/cut\.so at byte 0x.*cut short"):
        read_gpu_code(path)


# --- what is written is read

_SIZES = st.integers(0, 40)
_KINDS: tuple[Kind, ...] = ("sass", "ptx", "other")
_COMPRESSIONS: tuple[Compression, ...] = ("none", "lz4", "zstd")
_VERSIONS = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda version: f"{version[0]}.{version[1]}")


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(_KINDS))
    compression = draw(st.sampled_from(_COMPRESSIONS))
    stored = draw(_SIZES if compression == "none" else st.integers(1, 40))
    return Entry(
        kind=kind,
        arch=f"{draw(st.integers(10, 999))}{draw(st.sampled_from(('', 'a', 'f')))}",
        compression=compression,
        stored_size=stored,
        size=stored if compression == "none" else draw(st.integers(0, (1 << 64) - 1)),
        ptx_version=draw(_VERSIONS) if kind == "ptx" else "",
    )


_SECTIONS = st.lists(
    st.tuples(
        st.sampled_from((*SECTIONS, ".text")),
        st.lists(st.tuples(st.lists(entries(), max_size=4), st.sampled_from((0, 0, 8, 4088))), max_size=3),
    ),
    max_size=4,
)


@given(_SECTIONS, st.sampled_from((0, 8, 48)), st.booleans())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read(
    written: list[tuple[str, list[tuple[list[Entry], int]]]], extra_header: int, wide: bool
) -> None:
    sections, expected = [], []
    for name, containers in written:
        body = b""
        for contents, padding in containers:
            body += make_container([make_entry(entry, extra_header) for entry in contents]) + bytes(padding)
            if name in SECTIONS:
                expected.append((name, tuple(contents)))
        sections.append((name, body))
    data = make_elf(sections, wide=wide)
    found = parse_gpu_code(data, "lib.so") or ()
    assert [(container.section, container.entries) for container in found] == expected
    assert all(data[container.offset :].startswith(b"\x50\xed\x55\xba") for container in found)


# --- files that are broken, foreign or hostile

ENTRY = make_entry(Entry("sass", "120", "none", 8, 8))


def patched(offset: int, layout: str, value: int) -> bytes:
    """A library of one container of one entry, with one field of the entry replaced."""
    entry = bytearray(ENTRY)
    struct.pack_into(layout, entry, offset, value)
    return make_elf([(".nv_fatbin", make_container([bytes(entry)]))])


@pytest.mark.parametrize(
    ("offset", "layout", "value", "cause"),
    [
        (2, "<H", 0x0102, "known version"),
        (4, "<I", 0, "known version"),
        (4, "<I", 63, "known version"),
        (4, "<I", 0xFFFFFFFF, "past the end of its container"),
        (8, "<Q", 9, "past the end of its container"),
        (8, "<Q", (1 << 64) - 64, "past the end of its container"),
        (8, "<Q", 7, "header is cut short"),
        (16, "<I", 9, "more compressed bytes than bytes"),
        (16, "<I", 8, "no known meaning"),
        (28, "<I", 9, "known version"),
        (28, "<I", 1000, "known version"),
        (40, "<Q", 0x300011, "no known meaning"),
    ],
)
def test_what_an_entry_says_of_itself_is_not_believed(offset: int, layout: str, value: int, cause: str) -> None:
    assert cause in refusal(patched(offset, layout, value))


def test_two_compressions_at_once_are_none() -> None:
    entry = make_entry(Entry("sass", "120", "zstd", 8, 80), flags=0x2011)
    assert "no known meaning" in refusal(make_elf([(".nv_fatbin", make_container([entry]))]))


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"\x50\xed\x55\xba", "container's header is cut short"),
        (b"\x51\xed\x55\xba" + bytes(12), "something other than a fatbin container"),
        (b"\x50\xed\x55\xba\x02\x00\x10\x00" + bytes(8), "something other than a fatbin container"),
        (b"\x50\xed\x55\xba\x01\x00\x00\x00" + bytes(8), "something other than a fatbin container"),
        (struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1), "past the end of .nv_fatbin"),
        (struct.pack("<IHHQ", 0xBA55ED50, 1, 16, (1 << 64) - 16), "past the end of .nv_fatbin"),
        (struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1) + b"\x01", "entry's header is cut short"),
        (make_container([ENTRY])[:-1], "past the end of .nv_fatbin"),
        (make_container([ENTRY]) + b"rest", "container's header is cut short"),
        (make_container([ENTRY, ENTRY[:63]]), "entry's header is cut short"),
    ],
)
def test_what_a_container_says_of_itself_is_not_believed(body: bytes, cause: str) -> None:
    assert cause in refusal(make_elf([(".nv_fatbin", body), (".text", bytes(200))]))


def test_no_file_makes_it_read_on_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "MAX_HEADERS", 100)
    for body in (make_container([]) * 100, make_container([make_entry(Entry("sass", "120", "none", 0, 0))] * 100)):
        assert refusal(make_elf([(".nv_fatbin", body)])) == "more than 100 headers"


def test_padding_without_end_is_passed_over_at_once() -> None:
    assert in_time(make_elf([(".nv_fatbin", bytes(10_000_000))])) == ()


@given(st.sampled_from(sorted(BYTES)), st.data())
@settings(max_examples=200, deadline=None)
def test_a_file_cut_short_is_refused(name: str, data: st.DataObject) -> None:
    whole = BYTES[name]
    length = data.draw(st.integers(0, len(whole) - 1))
    # The section table is the last thing in these files, so that any cut takes some of it.
    assert in_time(whole[:length]) is None


_MUTATIONS = st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)


@given(st.sampled_from(sorted(BYTES)), _MUTATIONS)
@settings(max_examples=300, deadline=None)
def test_bytes_changed_anywhere_are_read_or_refused_in_time(name: str, mutations: list[tuple[int, bytes]]) -> None:
    data = bytearray(BYTES[name])
    for place, replacement in mutations:
        at = place % len(data)
        data[at : at + len(replacement)] = replacement
    in_time(bytes(data))


@given(st.sampled_from(sorted(BYTES)), st.integers(0, 1 << 20), st.sampled_from((1, 2, 4, 8)), st.data())
@settings(max_examples=500, deadline=None)
def test_headers_changed_are_read_or_refused_in_time(name: str, place: int, width: int, data: st.DataObject) -> None:
    """As above, aimed at what is read: the file's header, the section table, and the containers' headers."""
    whole = bytearray(BYTES[name])
    table = struct.unpack_from("<Q", whole, 40)[0]
    spans = [(0, 64), (table, len(whole) - table)]
    spans += [(container.offset, 128) for container in parse_gpu_code(bytes(whole), name) or ()]
    start, size = data.draw(st.sampled_from(spans))
    value = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
    at = start + place % size
    assume(at + width <= len(whole))
    whole[at : at + width] = bytes([value]) * width
    for container in in_time(bytes(whole)) or ():
        assert container.offset + sum(entry.stored_size for entry in container.entries) <= len(whole)


@given(st.binary(max_size=300))
def test_a_section_of_anything_is_read_or_refused(body: bytes) -> None:
    in_time(make_elf([(".nv_fatbin", body)]))
    in_time(make_elf([(".nv_fatbin", make_container([body]))]))
