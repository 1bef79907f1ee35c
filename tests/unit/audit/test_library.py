"""Files that carry GPU code: read from a stream whose word is not taken, and kept as JSON without loss."""

from __future__ import annotations

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.audit import library as module
from scripts.audit.images import merge_libraries
from scripts.audit.library import Keeper, Library, dump_libraries, load_libraries, parse_library, read_library
from scripts.errors import Undecided
from scripts.gpucode import read_gpu_code
from scripts.oci.layer import Found, Layer, Link, What
from scripts.room import Room
from tests.unit.audit.samples import HOST, PLAIN, SEVERAL
from tests.unit.builders import DATA


@pytest.mark.parametrize("name", ["plain.so", "several.so", "linked.so", "relocatable.o", "family.so", "zstd.so"])
def test_a_library_from_a_stream_is_the_one_on_the_disk(name: str) -> None:
    path = DATA / "gpucode" / name
    data = path.read_bytes()
    found = read_library("a/b.so", len(data), io.BytesIO(data))
    assert found == Library("a/b.so", read_gpu_code(path) or ())
    assert found and found.containers


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"text, of some length", HOST, b"\x7fELF\x01\x01" + PLAIN[6:]])
def test_what_carries_nothing_is_no_library(data: bytes) -> None:
    assert read_library("x", len(data), io.BytesIO(data)) is None
    assert parse_library("x", data) is None


@pytest.mark.parametrize("length", [6, 63, 64, len(PLAIN) // 2])
def test_a_broken_library_is_a_fault_that_says_where_and_not_twice_which(length: int) -> None:
    found = read_library("lib/x.so", length, io.BytesIO(PLAIN[:length]))
    assert found and not found.containers
    assert found.fault.startswith("at byte 0x") and "lib/x.so" not in found.fault


def test_an_archive_that_says_another_size_is_not_believed() -> None:
    assert read_library("x", len(PLAIN) + 1, io.BytesIO(PLAIN)) == Library(
        "x", (), f"cut short after {len(PLAIN)} of {len(PLAIN) + 1} bytes"
    )
    assert read_library("x", len(PLAIN) - 1, io.BytesIO(PLAIN)) == Library("x", (), "longer than its archive says")


def test_what_is_too_large_to_hold_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", len(PLAIN) - 1)
    found = read_library("x", len(PLAIN), io.BytesIO(PLAIN))
    assert found and "more than this program reads" in found.fault


def test_json_keeps_everything() -> None:
    libraries = [parse_library("a", PLAIN), parse_library("b", SEVERAL), Library("c", (), "why")]
    found = [library for library in libraries if library]
    assert load_libraries(json.loads(json.dumps(dump_libraries(found)))) == found
    assert len(found) == 3


@pytest.mark.parametrize("value", [{}, {"path": "a"}, {"path": "a", "containers": [{}], "fault": ""}, [], None])
def test_other_json_is_refused(value: object) -> None:
    with pytest.raises((KeyError, TypeError)):
        load_libraries([value])  # type: ignore[list-item]


def test_what_is_kept_of_one_subject_is_bounded_over_all_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    found = parse_library("x", PLAIN)
    assert found
    each = len(found.containers) + sum(len(item.entries) for item in found.containers)
    monkeypatch.setattr(module, "MOST_ENTRIES", 5 * each)
    keeper = Keeper("the image")
    for number in range(5):
        assert keeper.read(f"{number}.so", len(PLAIN), io.BytesIO(PLAIN))
    assert keeper.read("host.so", len(HOST), io.BytesIO(HOST)) is None
    with pytest.raises(Undecided, match="more GPU code than this program keeps in mind") as caught:
        keeper.read("6.so", len(PLAIN), io.BytesIO(PLAIN))
    assert caught.value.problems[0].place == "the image, 6.so" and caught.value.problems[0].next_step


def test_two_libraries_that_are_too_large_together_are_held_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ROOM", Room(len(PLAIN) + len(PLAIN) // 2))
    open_now, most = [0], [0]

    class Slow:
        def __init__(self) -> None:
            self.stream, self.begun = io.BytesIO(PLAIN), False

        def read(self, size: int, /) -> bytes:
            if size > 6 and not self.begun:  # from here on the library is held
                self.begun = True
                open_now[0] += 1
                most[0] = max(most[0], open_now[0])
                time.sleep(0.02)
            data = self.stream.read(size)
            if not data:
                open_now[0] -= 1
            return data

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: read_library(str(number), len(PLAIN), Slow()), range(8)))
    assert all(found) and most == [1]


def test_libraries_are_counted_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LIBRARIES", 3)
    keeper = Keeper("the image")
    broken = PLAIN[:64]
    for number in range(3):
        found = keeper.read(f"{number}.so", len(broken), io.BytesIO(broken))
        assert found and found.fault
    with pytest.raises(Undecided, match="more libraries than this program keeps in mind"):
        keeper.read("3.so", len(broken), io.BytesIO(broken))
    links: list[tuple[str, What[Library]]] = [(str(number), Link("a.so", hard=True)) for number in range(3)]
    layer = Layer([("a.so", Found(Library("a.so", ()))), *links])
    with pytest.raises(Undecided, match="more libraries"):
        merge_libraries([layer], "the image")
