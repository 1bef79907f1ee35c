from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.assemble.bake import render_bake
from scripts.assemble.steps import make_steps
from scripts.assemble.types import Step
from scripts.matrix import Matrix
from scripts.model import BuildOptions
from scripts.plan import Selection, make_plan
from scripts.workspace import Workspace
from tests.unit.builders import DATA, write_locked_project


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    return write_locked_project(tmp_path)


def steps_of(matrix: Matrix, *patterns: str) -> list[Step]:
    return make_steps(matrix, make_plan(matrix, Selection(patterns)), BuildOptions())


def test_a_bake_file_is_as_it_was(matrix: Matrix) -> None:
    steps = steps_of(matrix, "serve-cpu")
    text = render_bake(steps, Workspace(matrix.root))
    for step in steps:  # it hashes versions, too
        text = text.replace(step.build_id, f"the build id of {step.name}")
    assert text + "\n" == (DATA / "plan.bake.json").read_text()


def test_cells_are_built_by_default_and_their_parents_for_them(matrix: Matrix) -> None:
    bake = json.loads(render_bake(steps_of(matrix, "*-cpu"), Workspace(matrix.root)))
    assert bake["group"]["default"]["targets"] == ["serve-cpu", "train-cpu"]
    assert list(bake["target"]) == ["base", "serve-cpu", "train-cpu"]
    assert bake["target"]["serve-cpu"]["contexts"]["base"] == "target:base"
    assert "base" not in bake["target"]["base"]["contexts"]


def test_no_target_has_a_network_or_a_path_of_this_machine(matrix: Matrix) -> None:
    text = render_bake(steps_of(matrix, "*-cpu"), Workspace(matrix.root))
    assert {target["network"] for target in json.loads(text)["target"].values()} == {"none"}
    assert str(matrix.root) not in text
