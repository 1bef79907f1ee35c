"""From planned cells and their locks to build steps, each known by a content id before anything runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from scripts.engine.images import BUILD_ID_LABEL
from scripts.errors import ConfigError
from scripts.files import content_id, sha256_file
from scripts.lock import Lock, image_slot, read_slot, recipe_slot, tools_slot
from scripts.matrix import Image, Matrix, select_rules
from scripts.model import LockedFile
from scripts.plan import PlannedCell
from scripts.slim.wheel.wheel import VERSION as SLIMMER

FORMAT = 1  # raised when the way in which inputs are laid out changes what comes out of the same inputs
INSTALLER = Path(__file__).with_name("install-wheels")
_NOT_CONTEXT = {"image.toml", "smoke.py", "README.md", "sizes.svg"}


@dataclass(frozen=True)
class Step:
    """One image to build. `name` is a cell's id, or the image's own where it is built in no cells.

    `arguments` are what its program is started with, quoted for a shell; `slim` is the compute capability that its
    wheels are cut down to, empty for wheels as they are.
    `build_id` hashes all that goes in: smoke tests, manuals and this program's other files are not part of it.
    """

    name: str
    image: Image
    parent: Step | None
    files: tuple[LockedFile, ...]
    tools: tuple[LockedFile, ...]
    epoch: int
    labels: dict[str, str]
    build_id: str = field(default="", compare=False)
    arguments: str = ""
    slim: str = ""
    compression: str = "zstd"

    @property
    def inputs(self) -> tuple[LockedFile, ...]:
        """Everything to fetch for this step alone."""
        return (*self.files, *self.tools)


def make_steps(matrix: Matrix, plan: Sequence[PlannedCell]) -> list[Step]:
    """The steps of these cells, parents first, each once. Raises ConfigError for a missing or stale lock."""
    uv = tuple(file for file in read_slot(matrix.root, tools_slot(matrix)).files if file.kind == "wheel")
    steps: dict[str, Step] = {}
    for planned in plan:
        parent: Step | None = None
        for image in reversed(planned.parents):
            if image.name not in steps:
                steps[image.name] = _image_step(matrix, image, parent)
            parent = steps[image.name]
        steps[planned.cell.id] = _cell_step(matrix, planned, parent, uv)
    return list(steps.values())


def list_context(image: Image) -> list[Path]:
    """The files of an image's folder that its build sees, in order."""
    return [
        path
        for path in sorted(image.folder.rglob("*"))
        if path.is_file()
        and path.name not in _NOT_CONTEXT
        and path.parent.name != "__pycache__"
        and path.relative_to(image.folder).parts[0] != "lock"
    ]


def make_arguments(step: Step) -> dict[str, str]:
    """What a Dockerfile may declare with ARG: the time that files get, and its program's arguments if there are any."""
    return {"SOURCE_DATE_EPOCH": str(step.epoch)} | ({"ARGUMENTS": step.arguments} if step.arguments else {})


def make_labels(step: Step, parent_digest: str = "") -> dict[str, str]:
    """The image's labels: those of its step, its build id, its time, and its parent's digest once that is known."""
    labels = step.labels | {BUILD_ID_LABEL: step.build_id}
    created = datetime.fromtimestamp(step.epoch, UTC)
    labels["org.opencontainers.image.created"] = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    if step.parent and parent_digest:
        labels["org.opencontainers.image.base.name"] = f"hallmark/{step.parent.name}"
        labels["org.opencontainers.image.base.digest"] = parent_digest
    return labels


def is_executable(path: Path) -> bool:
    """The one bit of a file's mode that git keeps, and so the only one that a build may depend on."""
    return bool(path.stat().st_mode & 0o100)


def _image_step(matrix: Matrix, image: Image, parent: Step | None) -> Step:
    lock = read_slot(matrix.root, image_slot(matrix, image))
    labels = {"org.opencontainers.image.version": image.version}
    return _identify(
        Step(image.name, image, parent, lock.files, (), lock.epoch, labels, compression=matrix.compression)
    )


def _cell_step(matrix: Matrix, planned: PlannedCell, parent: Step | None, uv: tuple[LockedFile, ...]) -> Step:
    cell, recipe = planned.cell, planned.recipe
    if recipe is None:
        raise ValueError(planned.gap)  # `require_buildable` comes first
    lock = _omit(read_slot(matrix.root, recipe_slot(matrix, planned.image, (cell.recipe, cell.line))), planned)
    labels = {
        "org.opencontainers.image.version": recipe.version,
        "org.opencontainers.image.revision": recipe.revision,
        "io.hallmark.cell": cell.id,
        "io.hallmark.target": cell.target.name,
    }
    if cell.cuda:
        labels |= {"io.hallmark.cuda": cell.cuda.id, "io.hallmark.driver": cell.cuda.driver}
    return _identify(
        Step(
            name=cell.id,
            image=planned.image,
            parent=parent,
            files=lock.files,
            tools=uv,
            epoch=lock.epoch,
            labels=labels,
            arguments=shlex.join(recipe.arguments),
            slim=cell.target.compute if matrix.slim and cell.recipe == "wheel" else "",
            compression=matrix.compression,
        )
    )


def _omit(lock: Lock, planned: PlannedCell) -> Lock:
    """The lock without what image.toml leaves out of this cell. Raises ConfigError for a name that it does not have."""
    omitted = {name for rule in select_rules(planned.image.omissions, planned.cell) for name in rule.distributions}
    if unknown := omitted - {file.name for file in lock.files}:
        place = f"images/{planned.image.name}/image.toml: [[omit]]"
        raise ConfigError(f"{planned.cell.id} has no distribution {', '.join(sorted(unknown))}", place, "correct it")
    return replace(lock, files=tuple(file for file in lock.files if file.name not in omitted))


def _identify(step: Step) -> Step:
    """The step with the labels that every image has, a time no earlier than its parent's, and its build id."""
    image, parent = step.image, step.parent
    epoch = max(step.epoch, parent.epoch if parent else 0)
    labels = step.labels | {
        "org.opencontainers.image.title": image.name,
        "org.opencontainers.image.description": image.summary,
        "org.opencontainers.image.source": image.source,
        "org.opencontainers.image.licenses": image.licenses,
    }
    identity = {
        "format": FORMAT,
        "name": step.name,
        "files": [[file.file, file.sha256] for file in step.files],
        "tools": [[file.file, file.sha256] for file in step.tools],
        "installer": sha256_file(INSTALLER) if step.tools else None,
        "context": {
            path.relative_to(image.folder).as_posix(): [sha256_file(path), is_executable(path)]
            for path in list_context(image)
        },
        "labels": labels,
        "epoch": epoch,
        "parent": parent.build_id if parent else None,
    }
    if step.arguments:
        identity["arguments"] = step.arguments
    if step.slim:
        identity["slim"] = {"compute": step.slim, "version": SLIMMER}
    if step.compression != Step.compression:
        identity["compression"] = step.compression
    return replace(step, epoch=epoch, labels=labels, build_id=content_id(identity))
