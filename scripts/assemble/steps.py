"""From planned cells and their locks to images to assemble, each known by a content id before anything runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from scripts.assemble.context import describe_context
from scripts.assemble.layer import WRITER
from scripts.engine.images import BUILD_ID_LABEL
from scripts.errors import ConfigError
from scripts.files import content_id
from scripts.lock import image_slot, read_slot, recipe_slot
from scripts.lock.gates import select_files
from scripts.matrix import Image, Link, Matrix, Overlap, select_rules
from scripts.model import Compression, LockedFile
from scripts.plan import PlannedCell
from scripts.slim.wheel.wheel import VERSION as SLIMMER

FORMAT = 2  # raised when the same inputs are put together in another way


@dataclass(frozen=True)
class BuildOptions:
    """What the site and the command line decide about a build: how layers are compressed, and whether to slim."""

    compression: Compression = "zstd"
    slim: bool = True


@dataclass(frozen=True)
class Step:
    """One image to assemble. `name` is a candidate's id, or the image's own where it is built in no cells.

    Debian packages among the `files` are inputs of its Dockerfile; each wheel becomes (a part of) a layer. `arguments`
    are what its Dockerfile may declare; `slim` is the compute capability that its wheels are cut down to, empty for
    wheels as they are; `python` is the version X.Y.Z of the interpreter that it stands on.
    `build_id` hashes all that goes in: smoke tests, manuals and most of this program are no part of it.
    """

    name: str
    image: Image
    parent: Step | None
    files: tuple[LockedFile, ...]
    epoch: int
    labels: Mapping[str, str]
    arguments: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    slim: str = ""
    compression: Compression = "zstd"
    overlaps: tuple[Overlap, ...] = ()
    links: tuple[Link, ...] = ()
    build_id: str = field(default="", compare=False)

    @property
    def packages(self) -> tuple[LockedFile, ...]:
        """The Debian packages that its Dockerfile installs."""
        return tuple(file for file in self.files if file.kind == "deb")

    @property
    def wheels(self) -> tuple[LockedFile, ...]:
        """The distributions that are laid on top of its shell."""
        return tuple(file for file in self.files if file.kind == "wheel")

    @property
    def all_labels(self) -> dict[str, str]:
        """Every label that does not depend on what its parent came to."""
        created = datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {**self.labels, BUILD_ID_LABEL: self.build_id, "org.opencontainers.image.created": created}


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
    return _identify(Step(image.name, image, parent, lock.files, lock.epoch, labels, compression=options.compression))


def _cell_step(matrix: Matrix, planned: PlannedCell, parent: Step | None, options: BuildOptions) -> Step:
    cell, image, recipe = planned.cell, planned.image, planned.recipe
    if recipe is None:
        raise ValueError(planned.gap)  # `require_buildable` comes first
    lock = read_slot(matrix.root, recipe_slot(matrix, image, (cell.recipe, cell.line)))
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
    return _identify(
        Step(
            name=cell.candidate,
            image=image,
            parent=parent,
            files=tuple(select_files(image, cell, lock.files)),
            epoch=lock.epoch,
            labels=labels,
            arguments={"ARGUMENTS": shlex.join(recipe.arguments), "LINE": cell.line, "VERSION": recipe.version},
            python=find_python(matrix, parent),
            slim=cell.target.compute if options.slim and cell.recipe == "wheel" else "",
            compression=options.compression,
            overlaps=tuple(select_rules(image.overlaps, cell)),
            links=tuple(select_rules(image.links, cell)),
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


def _identify(step: Step) -> Step:
    """The step with the labels that every image has, a time no earlier than its parent's, and its build id."""
    image, parent = step.image, step.parent
    epoch = max(step.epoch, parent.epoch if parent else 0)
    labels = {
        **step.labels,
        "org.opencontainers.image.title": image.name,
        "org.opencontainers.image.description": image.summary,
        "org.opencontainers.image.source": image.source,
        "org.opencontainers.image.licenses": image.licenses,
    }
    identity = {
        "format": FORMAT,
        "name": step.name,
        "files": [[file.file, file.sha256] for file in step.files],
        "context": describe_context(image),
        "labels": labels,
        "epoch": epoch,
        "parent": parent.build_id if parent else None,
        "arguments": dict(step.arguments),
        "python": step.python,
        "compression": step.compression,
        "slim": {"compute": step.slim, "version": SLIMMER} if step.slim else None,
        "layers": WRITER if step.wheels else None,
        "overlaps": [[rule.path, rule.keep] for rule in step.overlaps],
        "links": [[rule.path, rule.target] for rule in step.links],
    }
    return replace(step, epoch=epoch, labels=labels, build_id=content_id(identity))
