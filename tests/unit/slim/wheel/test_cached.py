"""Slimmed wheels in the cache: made once, believed only while they are there, and never in place of a refused one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import Problem, Undecided
from scripts.fetch import Cache
from scripts.model import LockedFile
from scripts.slim.elf.library import LibraryReport
from scripts.slim.wheel import cached as module
from scripts.slim.wheel.cached import SlimmedFile, slim_files
from scripts.slim.wheel.wheel import WheelReport
from tests.unit.builders import lock_bytes, put_in_cache, sha256

NAME = "big_kernels-1.0-cp311-cp311-linux_x86_64.whl"
SLIMMED = "big_kernels-1.0+sm120-cp311-cp311-linux_x86_64.whl"
SOURCE, SMALLER = b"a large wheel", b"small"
REPORT = {"big/_C.so": LibraryReport(100, 40, 2, 6, 4)}


class Slimmer:
    """Stands in for `slim_wheel`: makes what it is told, and notes what it was asked."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = Cache(root / "cache")
        self.asked: list[tuple[str, str, str]] = []
        self.said: list[str] = []
        self.make: Callable[[Path, Path], dict[str, Any]] = self.smaller
        self.file = lock_bytes(SOURCE, file=NAME)
        put_in_cache(self.cache, SOURCE)
        monkeypatch.setattr(module, "slim_wheel", self)

    def __call__(self, wheel: Path, folder: Path, compute: str, digest: str = "") -> WheelReport:
        assert wheel.read_bytes() == SOURCE
        self.asked.append((wheel.name, compute, digest))
        return WheelReport(wheel, compute, len(SOURCE), **self.make(wheel, folder))

    def smaller(self, wheel: Path, folder: Path) -> dict[str, Any]:
        (folder / SLIMMED).write_bytes(SMALLER)
        return {"wheel": folder / SLIMMED, "after": len(SMALLER), "libraries": REPORT}

    def run(self, *files: LockedFile, compute: str = "12.0") -> list[SlimmedFile]:
        self.asked.clear()
        return slim_files(files or [self.file], compute, self.cache, self.said.append)

    def note(self, compute: str = "12.0") -> Path:
        [note] = (self.cache.root / "slim").glob(f"{self.file.sha256}-{compute}-*.json")
        return note


@pytest.fixture
def slimmer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slimmer:
    return Slimmer(tmp_path, monkeypatch)


def test_a_slimmed_wheel_lies_in_the_cache_under_its_own_hash(slimmer: Slimmer) -> None:
    [done] = slimmer.run()
    assert slimmer.asked == [(NAME, "12.0", slimmer.file.sha256)]
    assert done.source is slimmer.file
    assert done.used == LockedFile("wheel", "big-kernels", "1.0+sm120", SLIMMED, sha256(SMALLER), len(SMALLER))
    assert slimmer.cache.path(done.used.sha256).read_bytes() == SMALLER
    assert slimmer.cache.path(slimmer.file.sha256).read_bytes() == SOURCE, "the source stays for other targets"
    assert done.libraries == REPORT and done.reason == ""
    assert any(NAME in line and "1 of 1" in line for line in slimmer.said)


def test_nothing_temporary_is_left(slimmer: Slimmer) -> None:
    slimmer.run()
    assert {path.name for path in slimmer.cache.root.iterdir()} == {"sha256", "slim"}


def test_what_was_slimmed_once_is_not_slimmed_again(slimmer: Slimmer) -> None:
    first = slimmer.run()
    assert slimmer.run() == first
    assert slimmer.asked == []


def test_another_gpu_or_slimmer_is_another_wheel(slimmer: Slimmer, monkeypatch: pytest.MonkeyPatch) -> None:
    slimmer.run()
    slimmer.run(compute="9.0")
    assert [compute for _, compute, _ in slimmer.asked] == ["9.0"]
    monkeypatch.setattr(module, "VERSION", 999)
    slimmer.run()
    assert len(slimmer.asked) == 1


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.chmod(0o644) or path.write_bytes(b"cut")])
def test_a_note_without_its_bytes_counts_for_nothing(spoil: Callable[[Path], object], slimmer: Slimmer) -> None:
    [first] = slimmer.run()
    spoil(slimmer.cache.path(first.used.sha256))
    assert slimmer.run() == [first]
    assert len(slimmer.asked) == 1
    assert slimmer.cache.path(first.used.sha256).read_bytes() == SMALLER


USED = json.dumps(asdict(lock_bytes(SOURCE, file=NAME)))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"used": {}}', '{"used": 3, "reason": "", "libraries": {}}', f'{{"used": {USED}}}']
    + [f'{{"used": {USED}, "reason": "", "libraries": {value}}}' for value in ('{"a": {}}', "[]", "null", '{"a": 1}')],
)
def test_a_damaged_note_is_written_anew(text: str, slimmer: Slimmer) -> None:
    first = slimmer.run()
    slimmer.note().write_text(text)
    assert slimmer.run() == first and len(slimmer.asked) == 1
    assert slimmer.run() == first and slimmer.asked == []


def test_a_refused_wheel_is_used_as_it_is_and_not_asked_about_again(slimmer: Slimmer) -> None:
    refusal = Problem("its licence forbids it", NAME)
    slimmer.make = lambda wheel, folder: {"reason": refusal.cause, "refusal": refusal}
    [done] = slimmer.run()
    assert (done.used, done.reason, done.libraries) == (slimmer.file, "its licence forbids it", {})
    assert slimmer.run() == [done] and slimmer.asked == []


def test_a_wheel_with_nothing_to_remove_keeps_its_report(slimmer: Slimmer) -> None:
    slimmer.make = lambda wheel, folder: {"reason": "nothing to remove", "libraries": REPORT}
    [done] = slimmer.run()
    assert (done.used, done.libraries) == (slimmer.file, REPORT)


def test_what_has_no_library_of_this_platform_is_left_alone(slimmer: Slimmer) -> None:
    files = [
        lock_bytes(b"1", file="pure-1.0-py3-none-any.whl"),
        lock_bytes(b"2", file="thing_1_amd64.deb", kind="deb"),
    ]
    assert slimmer.run(*files) == [SlimmedFile(file, file) for file in files]
    assert slimmer.asked == [] and not (slimmer.cache.root / "slim").exists()


def test_the_order_of_the_files_stays(slimmer: Slimmer) -> None:
    pure = lock_bytes(b"1", file="pure-1.0-py3-none-any.whl")
    assert [done.used.file for done in slimmer.run(pure, slimmer.file)] == [pure.file, SLIMMED]
    assert any("2 of 2" in line for line in slimmer.said)


def test_a_slimmer_that_fails_leaves_no_note_and_nothing_half_made(slimmer: Slimmer) -> None:
    def fail(wheel: Path, folder: Path) -> dict[str, Any]:
        (folder / SLIMMED).write_bytes(b"half")
        raise Undecided("the disk is full")

    slimmer.make = fail
    with pytest.raises(Undecided):
        slimmer.run()
    assert [path.name for path in slimmer.cache.root.iterdir()] == ["sha256"]
    slimmer.make = slimmer.smaller
    assert slimmer.run()[0].used.file == SLIMMED


def test_a_cache_that_cannot_be_written_is_undecided(slimmer: Slimmer) -> None:
    def fail(wheel: Path, folder: Path) -> dict[str, Any]:
        raise PermissionError(13, "Permission denied", "/cache/slim")

    slimmer.make = fail
    with pytest.raises(Undecided) as caught:
        slimmer.run()
    [problem] = caught.value.problems
    assert (problem.cause, problem.place) == (f"{NAME} cannot be slimmed: Permission denied", "/cache/slim")
    assert problem.next_step
