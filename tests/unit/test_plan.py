from __future__ import annotations

import builtins
import io
import os
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError, ExitCode
from scripts.matrix import Matrix, load_matrix
from scripts.plan import PlannedCell, Selection, make_plan, render_json, require_buildable
from tests.unit.builders import BASE, DATA, edit, write, write_project

ALL = [
    "serve-cu128-5090",
    "serve-cu128-5090-wheel",
    "train-cu128-5090",
    "train-cu128-5090-wheel",
    "serve-cu130-5090-wheel",
    "train-cu130-5090-wheel",
    "serve-cpu",
    "train-cpu",
]


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    return load_matrix(write_project(tmp_path))


def ids(plan: list[PlannedCell]) -> list[str]:
    return [planned.cell.id for planned in plan]


def test_without_a_selection_every_cell_is_planned_in_the_matrixs_order(matrix: Matrix) -> None:
    assert ids(make_plan(matrix)) == ids(make_plan(matrix, Selection())) == ALL


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(["serve-cpu"]), ["serve-cpu"]),
        (Selection(["*-cpu", "serve-cu13*"]), ["serve-cu130-5090-wheel", "serve-cpu", "train-cpu"]),
        (Selection(["serve-cu128-5090"]), ["serve-cu128-5090"]),
        (Selection(["train-*-5090"]), ["train-cu128-5090"]),
        (Selection(images=["train"], cuda=["13.0"]), ["train-cu130-5090-wheel"]),
        (Selection(cuda=["cpu"]), ["serve-cpu", "train-cpu"]),
        (Selection(cuda=["13.0", "cpu"], images=["serve"]), ["serve-cu130-5090-wheel", "serve-cpu"]),
        (Selection(targets=["cpu"]), ["serve-cpu", "train-cpu"]),
        (Selection(recipes=["source"]), ["serve-cu128-5090", "train-cu128-5090"]),
        (
            Selection(["*-5090*"], recipes=["wheel"], images=["serve"]),
            ["serve-cu128-5090-wheel", "serve-cu130-5090-wheel"],
        ),
    ],
)
def test_a_selection_takes_what_matches_all_that_it_asks_for(
    selection: Selection, expected: list[str], matrix: Matrix
) -> None:
    assert ids(make_plan(matrix, selection)) == expected


@pytest.mark.parametrize(
    ("selection", "asked"),
    [
        (Selection(["serve"]), "patterns serve"),
        (Selection(["SERVE-CPU"]), "patterns SERVE-CPU"),
        (Selection(images=["base"]), "images base"),
        (Selection(targets=["4090"]), "targets 4090"),
        (Selection(cuda=["12.7"], recipes=["wheel"]), "cuda 12.7, recipes wheel"),
        (Selection(targets=["cpu"], cuda=["12.8"]), "cuda 12.8, targets cpu"),
    ],
)
def test_a_selection_that_matches_nothing_names_what_there_is(selection: Selection, asked: str, matrix: Matrix) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(matrix, selection)
    assert f"no cell matches ({asked})" in str(caught.value)
    assert f"choose from: {', '.join(ALL)}" in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


def test_of_two_cells_asked_for_a_misspelt_one_does_not_go_unnoticed(matrix: Matrix) -> None:
    with pytest.raises(ConfigError, match=r"no cell matches \(patterns trian-cpu\)"):
        make_plan(matrix, Selection(["serve-cpu", "trian-cpu"]))


def test_a_matrix_without_cells_says_so(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    for name in ("serve", "train"):
        (root / f"images/{name}/image.toml").unlink()
    text = (root / "matrix.toml").read_text()
    write(root / "matrix.toml", text[: text.index("[[exclude]]")] + text[text.index("[platform]") :])
    with pytest.raises(ConfigError, match=r"the matrix is empty[\s\S]*add a target"):
        make_plan(load_matrix(root))


def test_cells_whose_recipe_is_written_can_be_built(matrix: Matrix) -> None:
    require_buildable(make_plan(matrix, Selection(targets=["cpu"])))


def test_every_gap_is_named_and_is_a_mistake_of_who_asked(matrix: Matrix) -> None:
    with pytest.raises(ConfigError) as caught:
        require_buildable(make_plan(matrix, Selection(images=["serve"])))
    text = str(caught.value)
    for cell, key in (
        ("serve-cu128-5090", '[recipe.source."12.8"]'),
        ("serve-cu128-5090-wheel", '[recipe.wheel."12.8"]'),
        ("serve-cu130-5090-wheel", '[recipe.wheel."13.0"]'),
    ):
        assert f"{cell}: not built yet: images/serve/image.toml has no {key}" in text
    assert "serve-cpu" not in text
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_recipe_that_is_written_closes_its_gap(matrix: Matrix) -> None:
    edit(matrix.root / "images/serve/image.toml", "[recipe.wheel.cpu]", '[recipe.wheel."12.8"]')
    edit(matrix.root / "images/serve/image.toml", "[[recipe.wheel.cpu.upstream]]", '[[recipe.wheel."12.8".upstream]]')
    plan = make_plan(load_matrix(matrix.root), Selection(images=["serve"]))
    assert [planned.cell.id for planned in plan if not planned.gap] == ["serve-cu128-5090-wheel"]


def test_parents_are_known_nearest_first(matrix: Matrix) -> None:
    write(matrix.root / "images/middle/image.toml", BASE + 'parent = "base"\n')
    edit(matrix.root / "images/train/image.toml", 'parent = "base"', 'parent = "middle"')
    plan = make_plan(load_matrix(matrix.root), Selection(["*-cpu"]))
    assert [[image.name for image in planned.parents] for planned in plan] == [["base"], ["middle", "base"]]


def test_what_ci_reads_is_as_it_was(matrix: Matrix) -> None:
    assert render_json(make_plan(matrix, Selection(images=["serve"]))) + "\n" == (DATA / "plan.json").read_text()


def test_planning_reads_nothing(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"read {arguments}")

    with monkeypatch.context() as patch:
        for holder, name in ((builtins, "open"), (io, "open"), (os, "stat"), (os, "listdir"), (os, "scandir")):
            patch.setattr(holder, name, refuse)
        patch.setattr(os, "environ", {})
        plan = make_plan(matrix)
        text = render_json(plan)
    assert text == render_json(make_plan(matrix))
