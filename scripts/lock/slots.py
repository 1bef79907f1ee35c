"""Which lock files there are, and what each is resolved from: a stale lock is noticed offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.errors import ConfigError, Problem
from scripts.files import content_id
from scripts.lock.lockfile import RELOCK, Lock, read_lock
from scripts.matrix import Image, Matrix

TOOLS = "matrix.lock"
RecipeKey = tuple[str, str]  # a recipe's name and its CUDA line, as in image.toml


@dataclass(frozen=True)
class Slot:
    """One lock file and everything its resolution depends on."""

    place: str
    config: dict[str, Any]

    @property
    def config_id(self) -> str:
        return content_id(self.config)


def tools_slot(matrix: Matrix) -> Slot:
    """The engine and the installer of wheels: what builds, rather than what is built."""
    packages = {suite: sorted(names) for suite, names in sorted(matrix.tools.packages.items())}
    return Slot(TOOLS, {"uv": matrix.tools.uv, "packages": packages, "platform": _platform(matrix)})


def image_slot(matrix: Matrix, image: Image) -> Slot:
    """The Debian packages of an image that others stand on."""
    config = {"packages": sorted(image.packages), "suites": list(matrix.platform.suites)}
    return Slot(f"images/{image.name}/lock/debian.toml", config)


def recipe_slot(matrix: Matrix, image: Image, key: RecipeKey) -> Slot:
    """The wheels of one of an image's recipes: cells that differ in their target alone share them."""
    recipe = image.recipes[key]
    name, line = key
    config = {
        "requirements": sorted(recipe.requirements),
        "absent": sorted(recipe.absent),
        "upstream": [asdict(item) for item in recipe.upstream],
        "platform": _platform(matrix),
    }
    slug = matrix.cuda[line].slug if line in matrix.cuda else line
    return Slot(f"images/{image.name}/lock/{name}-{slug}.toml", config)


def all_slots(matrix: Matrix) -> list[Slot]:
    """Every lock file of the project: tools, images without cells, and each recipe that is written."""
    slots = [tools_slot(matrix)]
    for image in matrix.images.values():
        if not image.cells:
            slots.append(image_slot(matrix, image))
        slots += [recipe_slot(matrix, image, key) for key in image.recipes]
    return slots


def read_slot(root: Path, slot: Slot) -> Lock:
    """A slot's lock. Raises ConfigError where the matrix or image.toml now asks for something else."""
    lock = read_lock(root / slot.place, slot.place)
    if lock.config != slot.config_id:
        raise ConfigError("the lock is older than the matrix or the image.toml that it belongs to", slot.place, RELOCK)
    return lock


def check_slots(root: Path, slots: Sequence[Slot]) -> None:
    """Raise one ConfigError with every lock that is missing, damaged, stale, or left over. Needs no network."""
    problems: list[Problem] = []
    for slot in slots:
        try:
            read_slot(root, slot)
        except ConfigError as error:
            problems += error.problems
    known = {slot.place for slot in slots}
    for path in sorted(root.glob("images/*/lock/*")):
        place = path.relative_to(root).as_posix()
        if place not in known:
            problems.append(Problem("a lock that nothing uses", place, "delete it, or write the recipe it is for"))
    if problems:
        raise ConfigError(problems)


def _platform(matrix: Matrix) -> dict[str, str]:
    return {"python": matrix.platform.python, "glibc": matrix.platform.glibc}
