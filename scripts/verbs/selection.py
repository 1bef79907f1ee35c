"""What the options of a verb select: a project, cells of it, a GPU."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.errors import ConfigError
from scripts.matrix import Image, Matrix
from scripts.model import Target
from scripts.plan import PlannedCell, Selection, make_plan, require_buildable
from scripts.project import Project
from scripts.text import name_some


def open_cells(root: Path, options: argparse.Namespace) -> tuple[Project, list[PlannedCell]]:
    """The project and the selected cells. Raises ConfigError where one of them has no recipe yet."""
    project = Project.open(root)
    cells = make_plan(project.matrix, read_selection(options))
    require_buildable(cells)
    return project, cells


def read_selection(options: argparse.Namespace) -> Selection:
    """The cells that the options name, by patterns and axes."""
    return Selection([*options.patterns, *options.only], options.image, options.cuda, options.target, options.recipe)


def find_gpu(matrix: Matrix, name: str) -> Target:
    """A target of the matrix that is a GPU. Raises ConfigError for any other name."""
    target = matrix.targets.get(name)
    if target is None or not target.has_gpu:
        gpus = name_some((each.id for each in matrix.targets.values() if each.has_gpu), "add one to matrix.toml")
        raise ConfigError(f"`{name}` is not a GPU of the matrix", "--target", gpus)
    return target


def choose_images(matrix: Matrix, names: Sequence[str], place: str) -> list[Image]:
    """The images of these names, or all. Raises ConfigError, of this place, for a name that none has."""
    if unknown := sorted(set(names) - set(matrix.images)):
        raise ConfigError(f"no image {', '.join(unknown)}", place, name_some(matrix.images))
    return [image for image in matrix.images.values() if not names or image.name in names]
