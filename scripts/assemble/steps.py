"""From planned cells and their locks to images to assemble, each known by a content id before anything runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from scripts.assemble.build_ids import identify_image
from scripts.assemble.components import make_compile_steps
from scripts.assemble.guard import guard_settings
from scripts.assemble.types import CompileStep, Step
from scripts.errors import ConfigError
from scripts.lock import Lock, image_slot, read_slot, recipe_slot
from scripts.lock.gates import select_files
from scripts.lock.slots import TOOLKIT, has_packages
from scripts.matrix import Image, Matrix, select_rules
from scripts.model import BuildOptions
from scripts.plan import PlannedCell, plan_cell


def make_steps(matrix: Matrix, plan: Sequence[PlannedCell], options: BuildOptions) -> list[Step]:
    """The images of these cells, parents first, each once: cells of one candidate share it.

    Raises ConfigError for a missing or stale lock, and for a rule that names what the lock does not have.
    """
    steps: dict[str, Step] = {}
    for planned in plan:
        parent: Step | None = None
        for image in reversed(planned.parents):
            if image.name not in steps:
                steps[image.name] = _image_step(matrix, image, parent, options)
            parent = steps[image.name]
        if planned.cell.candidate not in steps:
            steps[planned.cell.candidate] = _cell_step(matrix, planned, parent, options)
    return list(steps.values())


def _image_step(matrix: Matrix, image: Image, parent: Step | None, options: BuildOptions) -> Step:
    lock = read_slot(matrix.root, image_slot(matrix, image))
    labels = {"org.opencontainers.image.version": image.version}
    return identify_image(
        Step(image.name, image, parent, lock.files, lock.epoch, labels, compression=options.compression)
    )


def _cell_step(matrix: Matrix, planned: PlannedCell, parent: Step | None, options: BuildOptions) -> Step:
    cell, image, recipe = planned.cell, planned.image, planned.recipe
    if recipe is None:
        raise ValueError(planned.gap)  # `require_buildable` comes first
    lock = read_slot(matrix.root, recipe_slot(matrix, image, (cell.recipe, cell.line)))
    packages = read_slot(matrix.root, image_slot(matrix, image)) if has_packages(image) else Lock("", 0, ())
    compiled: tuple[CompileStep, ...] = ()
    if recipe.compile:
        toolkit = _cell_step(matrix, plan_cell(matrix, replace(cell, image=TOOLKIT)), parent, options)
        compiled = make_compile_steps(matrix, cell, recipe.compile, toolkit)
    labels = {
        "org.opencontainers.image.version": recipe.version,
        "org.opencontainers.image.revision": recipe.revision,
    }
    if cell.cuda:
        labels |= {
            "io.hallmark.compute": cell.target.compute,
            "io.hallmark.cuda": cell.cuda.id,
            "io.hallmark.driver": cell.cuda.driver,
        }
    return identify_image(
        Step(
            name=cell.candidate,
            image=image,
            parent=parent,
            files=(*packages.files, *select_files(image, cell, lock.files)),
            epoch=max(lock.epoch, packages.epoch),
            labels=labels,
            arguments={"ARGUMENTS": shlex.join(recipe.arguments), "LINE": cell.line, "VERSION": recipe.version},
            python=find_python(matrix, parent),
            slim=cell.target.compute if options.slim else "",
            compression=options.compression,
            overlaps=tuple(select_rules(image.overlaps, cell)),
            links=tuple(select_rules(image.links, cell)),
            compiled=compiled,
            guard=guard_settings(cell.cuda, cell.target) if image.guard and cell.cuda else {},
        )
    )


def find_python(matrix: Matrix, parent: Step | None) -> str:
    """The version X.Y.Z of the interpreter in an image or the nearest below it. Raises ConfigError where none has the
    platform's."""
    name = f"python{matrix.platform.python}"
    step = parent
    while step:
        for file in step.packages:
            if file.name == name:
                return file.version.partition("-")[0]
        step = step.parent
    place = f"images/{parent.image.name}/image.toml" if parent else "image.toml"
    raise ConfigError(f"no package `{name}` in the image that wheels are laid on", place, "add python3 to its packages")
