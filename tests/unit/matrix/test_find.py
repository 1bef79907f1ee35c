"""What cannot be looked into is an error: without it there would be fewer cells, and locks that seem to fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.errors import ConfigError, Problem
from scripts.lock import all_slots, check_slots
from scripts.matrix import load_matrix
from scripts.matrix.find import find_files
from tests.unit.builders import write_component, write_locked_project, write_project

PATTERNS = ("images/*/image.toml", "images/*/lock/*", "images/*/components/*/*.toml", "images/*/components")
Spoil = Callable[[Path], None]


def make_dangling(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.symlink_to("nowhere")


def make_loop(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.symlink_to(path.name)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.fixture
def lock_away(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """Takes away what root always has: the permission to look into a folder."""
    real_list, real_stat = os.listdir, os.lstat

    def spoil(path: Path) -> None:
        def check(file: Path) -> None:
            if path in file.parents:
                raise PermissionError(13, "Permission denied", str(file))

        def list_folder(folder: Path) -> list[str]:
            check(folder / "any")
            return real_list(folder)

        def ask(file: Path) -> os.stat_result:
            check(Path(file))
            return real_stat(file)

        monkeypatch.setattr(os, "listdir", list_folder)
        monkeypatch.setattr(os, "lstat", ask)

    return spoil


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_there_is_found_as_pathlib_finds_it(pattern: str, tmp_path: Path) -> None:
    write_locked_project(tmp_path)
    write_component(tmp_path)
    (tmp_path / "images/notes.txt").touch()
    (tmp_path / "images/empty").mkdir()
    (tmp_path / "images/also").symlink_to("serve")
    problems: list[Problem] = []
    assert find_files(tmp_path, pattern, problems) == sorted(tmp_path.glob(pattern)) != [] == problems


@pytest.mark.parametrize("spoil", [make_dangling, make_loop, None])
@pytest.mark.parametrize("place", ["images/serve", "images/serve/components", "images/serve/components/kernels"])
def test_a_folder_that_cannot_be_looked_into_is_no_smaller_matrix(
    spoil: Spoil | None, place: str, tmp_path: Path, lock_away: Spoil
) -> None:
    write_component(write_project(tmp_path))
    load_matrix(tmp_path)
    (spoil or lock_away)(tmp_path / place)
    with pytest.raises(
        ConfigError, match=rf"(?m)^{place}: cannot be looked into: \w.+\n  next: make it readable"
    ) as caught:
        load_matrix(tmp_path)
    assert len({problem.place for problem in caught.value.problems}) == len(caught.value.problems), "each is said once"


@pytest.mark.parametrize("spoil", [make_dangling, make_loop, make_pipe])
@pytest.mark.parametrize("place", ["matrix.toml", "images/train/image.toml", "images/serve/components/k/1.toml"])
def test_a_file_that_is_none_is_no_smaller_matrix(spoil: Spoil, place: str, tmp_path: Path) -> None:
    write_project(tmp_path)
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    spoil(path)
    with pytest.raises(ConfigError, match=place):
        load_matrix(tmp_path)


@pytest.mark.parametrize("spoil", [make_dangling, make_loop, None])
def test_locks_that_cannot_be_looked_into_do_not_fit(spoil: Spoil | None, tmp_path: Path, lock_away: Spoil) -> None:
    slots = all_slots(write_locked_project(tmp_path))
    check_slots(tmp_path, slots)
    (spoil or lock_away)(tmp_path / "images/serve/lock")
    with pytest.raises(ConfigError, match="images/serve/lock: cannot be looked into"):
        check_slots(tmp_path, slots)


@pytest.mark.parametrize("spoil", [make_dangling, make_loop, make_pipe])
def test_a_lock_that_is_no_file_does_not_fit(spoil: Spoil, tmp_path: Path) -> None:
    slots = all_slots(write_locked_project(tmp_path))
    spoil(tmp_path / "images/serve/lock/wheel-cpu.toml")
    with pytest.raises(ConfigError, match=r"images/serve/lock/wheel-cpu\.toml"):
        check_slots(tmp_path, slots)


def test_patches_that_cannot_be_looked_into_are_not_left_out(tmp_path: Path, lock_away: Spoil) -> None:
    write_component(write_project(tmp_path))
    folder = tmp_path / "images/serve/components/kernels/patches/1.0"
    folder.mkdir(parents=True)
    component = load_matrix(tmp_path).components["kernels-1.0"]
    assert component.patches() == []
    lock_away(folder)
    with pytest.raises(ConfigError, match=r"images/serve/components/kernels/patches/1\.0: cannot be looked into"):
        component.patches()
