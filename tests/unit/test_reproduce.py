from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from scripts.assemble.steps import make_steps
from scripts.errors import BuildFailed
from scripts.plan import Selection, make_plan
from scripts.reproduce import Reproduction, reproduce
from tests.unit.pipeline.lab import Lab

CPU = "serve-cpu"


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    (tmp_path / "checkout").mkdir()
    return Lab(tmp_path / "checkout", capsys, monkeypatch)


def again(lab: Lab, *cells: str) -> list[Reproduction]:
    project = lab.project
    plan = make_plan(project.matrix, Selection(cells or (CPU,)))
    return reproduce(lab.bench, make_steps(project.matrix, plan, project.build_options()))


def test_equal_builds_are_identical_base_and_all(lab: Lab) -> None:
    rows = again(lab, CPU, "train-cpu")
    assert [row.name for row in rows] == ["base", CPU, "train-cpu"]
    assert all(row.first == row.second and row.differences == () for row in rows)
    assert rows[1].first == lab.layout(CPU).digest


def test_each_image_is_really_built_twice(lab: Lab) -> None:
    again(lab)
    without = [arguments for arguments in lab.builder.ran if "--no-cache" in arguments]
    assert len(lab.builder.ran) == 4 and without == lab.builder.ran[2:]
    assert lab.compiled == 2, "byte code, too"
    assert lab.builder.pruned >= 3


def test_a_child_is_built_on_its_rebuilt_parent(lab: Lab, tmp_path: Path) -> None:
    again(lab)
    [parent] = [argument for argument in lab.builder.ran[3] if argument.startswith("base=")]
    assert parent.startswith(f"base=oci-layout://{tmp_path / 'elsewhere'}/")


def test_a_shell_that_comes_out_otherwise_is_different(lab: Lab) -> None:
    """BuildKit's cache would hide it."""
    moods = count()
    lab.builder.mood = lambda: f"# {next(moods)}"
    rows = again(lab)
    assert all(row.first != row.second for row in rows)
    assert any("/etc/base" in line for line in rows[0].differences)
    assert any("/etc/serve" in line for line in rows[1].differences)


def test_a_layer_that_comes_out_otherwise_is_different(lab: Lab) -> None:
    """The cache of layers would hide it, and so would that of byte code."""
    moods = count()
    lab.byte_code = lambda: f"{next(moods)}".encode()
    base, serve = again(lab)
    assert base.differences == ()
    assert any("__init__.cpython-311.pyc" in line for line in serve.differences)


def test_the_second_build_has_other_surroundings_and_leaves_none(lab: Lab, tmp_path: Path) -> None:
    before = os.umask(0o022)
    os.umask(before)
    seen: list[tuple[int, bool]] = []

    def look() -> None:
        umask = os.umask(0)
        os.umask(umask)
        seen.append((umask, any((tmp_path / "elsewhere").iterdir())))

    lab.workshop.on_build[CPU] = look
    again(lab)
    assert seen == [(before, False), (0o077, True)]
    umask = os.umask(before)
    assert umask == before and list((tmp_path / "elsewhere").iterdir()) == []


def test_a_second_build_that_fails_cleans_up_too(lab: Lab, tmp_path: Path) -> None:
    built = count()

    def fail() -> None:
        if next(built):
            raise BuildFailed("not again")

    lab.workshop.on_build[CPU] = fail
    before = os.umask(0o022)
    os.umask(before)
    with pytest.raises(BuildFailed, match="not again"):
        again(lab)
    umask = os.umask(before)
    assert umask == before and list((tmp_path / "elsewhere").iterdir()) == []
    assert lab.layout(CPU).has_all_bytes(), "the first stays"
