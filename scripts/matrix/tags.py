"""A cell's tags: composed here and nowhere else, and never one for two cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.errors import Problem
from scripts.matrix.names import LONGEST_TAG
from scripts.matrix.types import Matrix
from scripts.model import Cell

_BUILD_DIGITS = 12  # of a build id, at the end of a fixed tag
_FIXED = re.compile(rf"(?P<versioned>.+)-[0-9a-f]{{{_BUILD_DIGITS}}}")


@dataclass(frozen=True)
class Tags:
    """A cell's tags in its image's repository.

    Two move with what was accepted last: `newest` whatever its version, `versioned` within one version. `fixed` names
    one build for good.
    """

    image: str
    newest: str
    versioned: str
    fixed: str

    @property
    def moving(self) -> tuple[str, str]:
        """In the order in which they are promoted."""
        return self.versioned, self.newest

    @property
    def all(self) -> tuple[str, str, str]:
        # The fixed one first: an interruption then never leaves a moving tag ahead of it.
        return self.fixed, *self.moving

    def own(self, tag: str) -> bool:
        """Whether a tag is the cell's: one that moves, or that of any build of this version."""
        return tag in self.moving or versioned_part(tag) == self.versioned


def compose_tags(cell: Cell, version: str, build_id: str) -> Tags:
    """`cu128-5090`, `0.28.0-cu128-5090` and `0.28.0-cu128-5090-<12 digits of the build id>`."""
    versioned = f"{version}-{cell.variant}"
    return Tags(cell.image, cell.variant, versioned, f"{versioned}-{build_id[:_BUILD_DIGITS]}")


def versioned_part(tag: str) -> str:
    """What a tag that ends in a build id has before it; nothing for a tag that moves."""
    match = _FIXED.fullmatch(tag)
    return match["versioned"] if match else ""


def find_shared_tags(matrix: Matrix, cells: Sequence[Cell]) -> list[Problem]:
    """Moving tags that would be another cell's, too, or look like one of its builds': they would name its image."""
    owners: dict[tuple[str, str], str] = {}
    problems = []
    for cell in cells:
        for tag in _tags_of(matrix, cell).moving:
            owner = owners.setdefault((cell.image, tag), cell.id)
            if owner != cell.id:
                problems.append(_clash(tag, owner, cell.id))
    for (image, tag), cell_id in owners.items():
        owner = owners.get((image, versioned_part(tag)), cell_id)
        if owner != cell_id:
            problems.append(_clash(tag, owner, cell_id))
    return problems


def find_long_tags(matrix: Matrix, cells: Sequence[Cell]) -> list[Problem]:
    """Cells whose fixed tag is longer than registries take: it has the version, the cell and the build in it."""
    problems = []
    for cell in cells:
        length = len(_tags_of(matrix, cell).fixed)
        if length > LONGEST_TAG:
            cause = f"its tag would have {length} characters, and a tag has {LONGEST_TAG} at most"
            problems.append(Problem(cause, cell.id, "give the target, the recipe or the version a shorter name"))
    return problems


def _tags_of(matrix: Matrix, cell: Cell) -> Tags:
    recipe = matrix.images[cell.image].recipes.get((cell.recipe, cell.line))
    return compose_tags(cell, recipe.version if recipe else "", "0" * _BUILD_DIGITS)


def _clash(tag: str, owner: str, other: str) -> Problem:
    step = "rename a target or a recipe, or give a version another form"
    return Problem(f"the tag `{tag}` would be that of {owner} and of {other}", "matrix.toml", step)
