"""plan: matrix × images → ordered cells. Pure: it reads nothing and asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from scripts.errors import ConfigError, Problem
from scripts.matrix import Image, Matrix, Recipe
from scripts.model import Cell
from scripts.text import for_json


@dataclass(frozen=True)
class Selection:
    """Which cells are asked for: shell patterns over ids, and exact values of each axis; empty means all."""

    patterns: Sequence[str] = ()
    images: Sequence[str] = ()
    cuda: Sequence[str] = ()
    targets: Sequence[str] = ()
    recipes: Sequence[str] = ()

    def words(self) -> list[tuple[str, Selection]]:
        """Every word of the selection, and what it would select alone."""
        return [(f"{key} {word}", Selection(**{key: [word]})) for key, value in vars(self).items() for word in value]

    def includes(self, cell: Cell) -> bool:
        return (
            (not self.patterns or any(fnmatchcase(cell.id, pattern) for pattern in self.patterns))
            and (not self.images or cell.image in self.images)
            and (not self.cuda or cell.line in self.cuda)
            and (not self.targets or cell.target.id in self.targets)
            and (not self.recipes or cell.recipe in self.recipes)
        )


@dataclass(frozen=True)
class PlannedCell:
    """A cell with what it is made from. `recipe` is None while nobody has written that recipe down."""

    cell: Cell
    image: Image
    parents: tuple[Image, ...] = field(repr=False)
    recipe: Recipe | None = None

    @property
    def gap(self) -> str:
        """Why the cell cannot be built yet, or nothing."""
        if self.recipe:
            return ""
        return (
            f"not built yet: images/{self.cell.image}/image.toml has no [recipe.{self.cell.recipe}.{_key(self.cell)}]"
        )


def make_plan(matrix: Matrix, selection: Selection | None = None) -> list[PlannedCell]:
    """The selected cells in build order. Raises ConfigError when the selection matches none, naming what exists."""
    selection = selection or Selection()
    cells = matrix.cells
    chosen = [cell for cell in cells if selection.includes(cell)]
    # Each word must have a part in it: of two cells asked for, one misspelt must not go unnoticed.
    idle = [word for word, alone in selection.words() if not any(alone.includes(cell) for cell in chosen)]
    if idle or not chosen:
        asked = idle if chosen else [f"{key} {' '.join(value)}" for key, value in vars(selection).items() if value]
        raise ConfigError(
            f"no cell matches ({', '.join(asked) or 'the matrix is empty'})",
            "selection",
            f"choose from: {', '.join(cell.id for cell in cells)}" if cells else "add a target to matrix.toml",
        )
    return [plan_cell(matrix, cell) for cell in chosen]


def require_buildable(plan: Sequence[PlannedCell]) -> None:
    """Raise ConfigError that names every planned cell whose recipe is not written: asked for is never skipped."""
    mend = "choose cells that `plan` shows as ready, or write the recipe"
    if gaps := [Problem(planned.gap, planned.cell.id, mend) for planned in plan if planned.gap]:
        raise ConfigError(gaps)


def render_json(plan: Sequence[PlannedCell]) -> str:
    """The plan for CI: a JSON object whose `include` is a matrix for GitHub Actions."""
    return for_json({"version": 1, "include": [_row(planned) for planned in plan]}, indent=2)


def plan_cell(matrix: Matrix, cell: Cell) -> PlannedCell:
    """A cell with its image, the images that this one stands on, and its recipe if there is one."""
    image = matrix.images[cell.image]
    parents: list[Image] = []
    name = image.parent
    while name:
        parents.append(matrix.images[name])
        name = matrix.images[name].parent
    return PlannedCell(cell, image, tuple(parents), image.recipes.get((cell.recipe, cell.line)))


def _row(planned: PlannedCell) -> dict[str, Any]:
    cell = planned.cell
    return {
        "id": cell.id,
        "candidate": cell.candidate,
        "image": cell.image,
        "cuda": cell.cuda.id if cell.cuda else None,
        "target": cell.target.id,
        "compute": cell.target.compute or None,
        "recipe": cell.recipe,
        "version": planned.recipe.version if planned.recipe else None,
        "parents": [parent.name for parent in planned.parents],
        "ready": not planned.gap,
        "gap": planned.gap or None,
    }


def _key(cell: Cell) -> str:
    return f'"{cell.line}"' if cell.cuda else cell.line
