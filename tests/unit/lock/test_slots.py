"""A stale lock is noticed offline, and a lock is stale only where what it was resolved from has changed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.errors import ConfigError, ExitCode
from scripts.lock import Lock, all_slots, check_slots, read_slot
from scripts.lock.lockfile import write_lock
from scripts.lock.slots import select_earlier
from scripts.matrix import Matrix, load_matrix
from tests.unit.builders import (
    REPOSITORY_ROOT,
    edit,
    lock_bytes,
    write,
    write_component,
    write_locked_project,
    write_locks,
    write_project,
)

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


SUITE = """[recipe.wheel.cpu.suite]
sdist = "serve==1.2.0"
folder = "tests"
requirements = ["pytest==9.0"]
"""


def test_a_recipes_suite_has_a_lock_that_depends_on_it_alone(matrix: Matrix) -> None:
    place = "images/serve/lock/suite-wheel-cpu.toml"
    path = matrix.root / "images/serve/image.toml"
    edit(path, "[[scenario]]", f"{SUITE}[[scenario]]")
    assert [problem.partition(":")[0] for problem in problems_of(matrix.root)] == [place], "the image's stays as it is"
    [slot] = [slot for slot in all_slots(load_matrix(matrix.root)) if slot.place == place]
    write_lock(matrix.root / place, Lock(slot.config_id, 1, (lock_bytes(b"sdist", file="serve-1.2.0.tar.gz"),)))
    assert problems_of(matrix.root) == []
    edit(path, "pytest==9.0", "pytest==9.1")
    assert stale_of(matrix.root) == [place]


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
    with pytest.raises(ConfigError, match=r"matrix\.lock: the lock is older[\s\S]*next: run `nox -s lock -- --stale`"):
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


# --- what is compiled

KERNELS, SOURCE = "images/serve/lock/kernels-1.0-cu128.toml", "images/serve/lock/source-cu128.toml"
KERNELS_TOML, TOOLKIT_TOML = "images/serve/components/kernels/1.0.toml", "images/toolkit/image.toml"


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    write_component(write_project(tmp_path))
    write_locks(tmp_path, load_matrix(tmp_path))
    return tmp_path


def test_a_component_has_a_lock_for_each_line_that_a_recipe_compiles_it_for(compiled: Path) -> None:
    places = [slot.place for slot in all_slots(load_matrix(compiled))]
    assert places == [TOOLS, BASE, SERVE, SOURCE, "images/toolkit/lock/source-cu128.toml", TRAIN, KERNELS]
    assert problems_of(compiled) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        (KERNELS_TOML, "cmake>=3.26,<4", "cmake>=3.27,<4", [KERNELS]),
        (KERNELS_TOML, "torch==2.0", "torch==2.1", [KERNELS]),
        (KERNELS_TOML, '["triton"]', '["triton", "x"]', [KERNELS]),
        (KERNELS_TOML, '["cuda-bindings"]', '["x"]', [KERNELS]),
        (KERNELS_TOML, "serve-kernels==1.0", "serve-kernels==1.1", [KERNELS]),
        (KERNELS_TOML, "1" * 40, "2" * 40, [KERNELS]),
        (KERNELS_TOML, "a" * 64, "b" * 64, [KERNELS]),
        (KERNELS_TOML, '"csrc/cutlass"', '"csrc/other"', [KERNELS]),
        (TOOLKIT_TOML, '"ninja"', '"ninja>1"', ["images/toolkit/lock/source-cu128.toml", KERNELS]),
        ("images/serve/image.toml", "compile =", 'override = ["x>1"]\ncompile =', [SOURCE]),
        # What is not part of the question: another line's source, estimates, what the build script is told.
        (KERNELS_TOML, "other==2.0", "other==2.1", []),
        (KERNELS_TOML, "units = 110", "units = 9", []),
        (KERNELS_TOML, "unit = 1.5", "unit = 2", []),
        (KERNELS_TOML, 'MODE = "old"', 'MODE = "new"', []),
    ],
)
def test_a_components_lock_is_stale_when_what_it_is_resolved_from_changes(
    file: str, old: str, new: str, stale: list[str], compiled: Path
) -> None:
    edit(compiled / file, old, new)
    assert stale_of(compiled) == stale


def test_a_recipe_that_compiles_another_version_is_asked_about_anew(compiled: Path) -> None:
    folder = compiled / "images/serve/components/kernels"
    (folder / "1.0.toml").rename(folder / "2.0.toml")
    edit(compiled / "images/serve/image.toml", "kernels-1.0", "kernels-2.0")
    assert [problem.partition(":")[0] for problem in problems_of(compiled)] == [
        SOURCE,
        "images/serve/lock/kernels-2.0-cu128.toml",
        KERNELS,
    ]


def test_without_compilers_for_a_line_nothing_is_compiled_for_it(compiled: Path) -> None:
    shutil.rmtree(compiled / "images/toolkit")
    with pytest.raises(
        ConfigError, match=r"images/toolkit/image\.toml: there are no compilers for CUDA 12\.8\n  next:"
    ):
        all_slots(load_matrix(compiled))


def test_a_component_is_compiled_with_those_before_it_that_it_requires(compiled: Path) -> None:
    component = load_matrix(compiled).components["kernels-1.0"]
    torch, other = replace(component, distribution="torch"), replace(component, distribution="other")
    assert select_earlier(component, "12.8", [other, torch]) == (torch,)
