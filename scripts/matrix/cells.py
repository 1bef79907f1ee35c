"""From axes to cells: the product of images, CUDA lines, targets and recipes, less the exclusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from scripts.errors import Problem
from scripts.matrix.reader import find_repeated
from scripts.matrix.types import AuditRule, Exclusion, Image, Matrix, Omission
from scripts.model import Cell

Rule = TypeVar("Rule", AuditRule, Omission)


def make_cells(matrix: Matrix) -> list[Cell]:
    """The cells that are to be built, in the order of the matrix: target by target, then CUDA line, image, recipe."""
    return [cell for cell in _product(matrix) if not any(_matches(e, cell) for e in matrix.exclusions)]


def find_idle_exclusions(matrix: Matrix) -> list[Problem]:
    """Exclusions that match no cell: a misspelt one would otherwise exclude nothing in silence."""
    cells = _product(matrix)
    return [
        Problem(
            f"excludes no cell ({_describe(exclusion)})",
            f"matrix.toml: [exclude.{number}]",
            "correct its fields, or delete it",
        )
        for number, exclusion in enumerate(matrix.exclusions, 1)
        if not any(_matches(exclusion, cell) for cell in cells)
    ]


def find_clashes(matrix: Matrix) -> list[Problem]:
    """Ids that two cells share, or a cell and an image: steps, evidence and tags are known by them."""
    names = [cell.id for cell in make_cells(matrix)] + [
        image.name for image in matrix.images.values() if not image.cells
    ]
    return [
        Problem(f"two things would be called `{name}`", "matrix.toml", "rename a target, recipe or image")
        for name in find_repeated(names)
    ]


def find_idle_recipes(matrix: Matrix) -> list[Problem]:
    """Recipes that no cell uses, all of theirs being excluded: they would be locked for nothing."""
    used = {(cell.image, cell.recipe, cell.line) for cell in make_cells(matrix)}
    return [
        Problem(f"no cell uses [recipe.{name}.{line}]", f"images/{image.name}/image.toml", "delete it, or an exclusion")
        for image in matrix.images.values()
        for name, line in image.recipes
        if (image.name, name, line) not in used
    ]


def _product(matrix: Matrix) -> list[Cell]:
    return [
        Cell(image.name, target, cuda, recipe)
        for target in matrix.targets.values()
        for cuda in (matrix.cuda.values() if target.has_gpu else [None])
        for image in matrix.images.values()
        if image.cells
        for recipe in matrix.recipes
    ]


def select_rules(rules: Sequence[Rule], cell: Cell) -> list[Rule]:
    """Those of an image's rules that apply to one of its cells, in their order."""
    return [rule for rule in rules if _covers(rule, cell)]


def find_idle_rules(matrix: Matrix) -> list[Problem]:
    """Rules of images that apply to no cell: a misspelt target would otherwise demand nothing in silence."""
    cells = make_cells(matrix)
    rules: list[tuple[Image, str, int, AuditRule | Omission]] = []
    for image in matrix.images.values():
        rules += [(image, "audit", number, rule) for number, rule in enumerate(image.audit, 1)]
        rules += [(image, "omit", number, rule) for number, rule in enumerate(image.omissions, 1)]
    return [
        Problem(
            "applies to no cell of this image",
            f"images/{image.name}/image.toml: [{key}.{number}]",
            "correct its fields",
        )
        for image, key, number, rule in rules
        if not any(
            cell.image == image.name and _covers(rule, cell) and (cell.target.has_gpu or key == "omit")
            for cell in cells
        )
    ]


def _matches(exclusion: Exclusion, cell: Cell) -> bool:
    return exclusion.image in ("", cell.image) and _covers(exclusion, cell)


def _covers(narrowed: Exclusion | AuditRule | Omission, cell: Cell) -> bool:
    return (
        narrowed.cuda in ("", cell.line)
        and narrowed.target in ("", cell.target.id)
        and narrowed.recipe in ("", cell.recipe)
    )


def _describe(exclusion: Exclusion) -> str:
    fields = {key: getattr(exclusion, key) for key in ("image", "cuda", "target", "recipe")}
    return ", ".join(f"{key} = {value}" for key, value in fields.items() if value)
