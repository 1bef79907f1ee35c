"""A stale lock is noticed offline, and a lock is stale only where what it was resolved from has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.errors import ConfigError, ExitCode
from scripts.lock import all_slots, check_slots, read_slot
from scripts.matrix import Matrix, load_matrix
from tests.unit.builders import REPOSITORY_ROOT, edit, write, write_locked_project

TOOLS, BASE = "matrix.lock", "images/base/lock/debian.toml"
SERVE, TRAIN = "images/serve/lock/wheel-cpu.toml", "images/train/lock/wheel-cpu.toml"


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    return write_locked_project(tmp_path)


def problems_of(root: Path) -> list[str]:
    """What is wrong with the locks of a project as it now is."""
    try:
        check_slots(root, all_slots(load_matrix(root)))
    except ConfigError as error:
        assert error.exit_code is ExitCode.USAGE
        return [str(problem) for problem in error.problems]
    return []


def stale_of(root: Path) -> list[str]:
    found = problems_of(root)
    assert all("older than the matrix or the image.toml" in problem for problem in found), found
    return [problem.partition(":")[0] for problem in found]


def test_the_repositorys_own_locks_are_up_to_date() -> None:
    check_slots(REPOSITORY_ROOT, all_slots(load_matrix(REPOSITORY_ROOT)))


def test_each_part_of_a_project_has_a_lock_of_its_own(matrix: Matrix) -> None:
    assert [slot.place for slot in all_slots(matrix)] == [TOOLS, BASE, SERVE, TRAIN]


def test_a_recipe_for_a_cuda_line_has_a_slot_named_after_it(matrix: Matrix) -> None:
    edit(matrix.root / "images/train/image.toml", "[recipe.wheel.cpu]", '[recipe.source."12.8"]')
    places = [slot.place for slot in all_slots(load_matrix(matrix.root))]
    assert "images/train/lock/source-cu128.toml" in places


def test_fresh_locks_are_fine(matrix: Matrix) -> None:
    assert problems_of(matrix.root) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("images/serve/image.toml", '"torch"]', '"torch", "numpy"]', [SERVE]),
        ("images/serve/image.toml", 'absent = ["triton"]', 'absent = ["cuda"]', [SERVE]),
        ("images/serve/image.toml", "size = 1000", "size = 1001", [SERVE]),
        ("images/base/image.toml", '"libc6", ', "", [BASE]),
        ("matrix.toml", 'uv = "0.9.1"', 'uv = "0.9.2"', [TOOLS]),
        ("matrix.toml", '"runc"', '"crun"', [TOOLS]),
        ("matrix.toml", 'python = "3.11"', 'python = "3.12"', [TOOLS, SERVE, TRAIN]),
        ("matrix.toml", '["old", "new"]', '["new", "old"]', [BASE]),
    ],
)
def test_a_change_makes_those_locks_stale_that_depend_on_it(
    file: str, old: str, new: str, stale: list[str], matrix: Matrix
) -> None:
    edit(matrix.root / file, old, new)
    assert stale_of(matrix.root) == stale


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("matrix.toml", "memory = 32", "memory = 48"),
        (
            "matrix.toml",
            "cpu = {",
            'h200 = { name = "H200", compute = "9.0", driver = "535", memory = 141, recipe = "wheel" }\ncpu = {',
        ),
        ("matrix.toml", 'driver = "580.95.05"', 'driver = "580.99"'),
        ("matrix.toml", 'reason = "proves nothing"', 'reason = "another"'),
        ("images/serve/image.toml", 'summary = "A server"', 'summary = "The server"'),
        ("images/serve/image.toml", 'checks = ["load", "serve"]', 'checks = ["load"]'),
        ("images/serve/image.toml", '["serve==1.2.0", "torch"]', '["torch", "serve==1.2.0"]'),
        ("images/base/image.toml", '"libc6", "python3"', '"python3", "libc6"'),
    ],
)
def test_a_change_that_resolves_to_the_same_leaves_every_lock(file: str, old: str, new: str, matrix: Matrix) -> None:
    edit(matrix.root / file, old, new)
    assert problems_of(matrix.root) == []


def test_reading_a_stale_lock_is_refused_with_the_next_step(matrix: Matrix) -> None:
    edit(matrix.root / "matrix.toml", 'uv = "0.9.1"', 'uv = "0.9.2"')
    [tools, *_] = all_slots(load_matrix(matrix.root))
    with pytest.raises(ConfigError, match=r"matrix\.lock: the lock is older[\s\S]*next: run `nox -s lock`"):
        read_slot(matrix.root, tools)


def test_everything_that_is_wrong_is_said_at_once(matrix: Matrix) -> None:
    edit(matrix.root / "matrix.toml", 'uv = "0.9.1"', 'uv = "0.9.2"')
    (matrix.root / BASE).unlink()
    write(matrix.root / SERVE, "version = ")
    write(matrix.root / "images/train/lock/wheel-cu126.toml", "")
    stale, missing, damaged, leftover = problems_of(matrix.root)
    assert stale.startswith("matrix.lock: the lock is older")
    assert missing.startswith(f"{BASE}: there is no lock file")
    assert damaged.startswith(f"{SERVE}: ")
    assert leftover.startswith("images/train/lock/wheel-cu126.toml: a lock that nothing uses")


def test_a_lock_that_was_emptied_by_hand_is_refused(matrix: Matrix) -> None:
    path = matrix.root / TRAIN
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "sha256" not in line))
    [problem] = problems_of(matrix.root)
    assert "names no file" in problem
