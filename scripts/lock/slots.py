"""Which lock files there are, and what each is resolved from: a stale lock is noticed offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.errors import ConfigError, Problem
from scripts.files import content_id
from scripts.lock.lockfile import Lock, read_lock
from scripts.matrix import Component, Image, Matrix, Recipe
from scripts.matrix.find import find_files

TOOLS = "matrix.lock"
TOOLKIT = "toolkit"  # the image with the compilers: its recipe of a line is part of that line's every environment
RECIPE = "source"
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
    if image.parent:
        below = [matrix.images[name] for name in list_parents(matrix, image)]
        config["below"] = sorted(package for each in below for package in each.packages)
    return Slot(f"images/{image.name}/lock/debian.toml", config)


def list_parents(matrix: Matrix, image: Image) -> list[str]:
    """The names of the images that one stands on, the nearest first."""
    return [image.parent, *list_parents(matrix, matrix.images[image.parent])] if image.parent else []


def has_packages(image: Image) -> bool:
    """Whether an image installs Debian packages of its own."""
    return not image.cells or bool(image.packages)


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
    # Said only where it is so: locks from before there was such a thing stay as they are.
    if recipe.override:
        config["override"] = sorted(recipe.override)
    if recipe.compile:
        config["compiled"] = list(recipe.compile)
    if recipe.archives:
        config["archives"] = [asdict(item) for item in recipe.archives]
    return Slot(f"images/{image.name}/lock/{name}-{_slug(matrix, line)}.toml", config)


def suite_slot(matrix: Matrix, image: Image, key: RecipeKey) -> Slot:
    """Upstream's tests for one of an image's recipes. Raises ValueError for a recipe without any."""
    suite, (name, line) = image.recipes[key].suite, key
    if suite is None:
        raise ValueError(f"{image.name} has no suite for {name} {line}")
    config = {"sdist": suite.sdist, "requirements": sorted(suite.requirements), "platform": _platform(matrix)}
    return Slot(f"images/{image.name}/lock/{name_suite_lock(name, _slug(matrix, line))}", config)


def name_suite_lock(recipe: str, slug: str) -> str:
    """The lock file of a recipe's suite for a CUDA line, which `slug` names as tags do (`cu130`, `cpu`)."""
    return f"suite-{recipe}-{slug}.toml"


def component_slot(matrix: Matrix, component: Component, line: str, earlier: Sequence[Component]) -> Slot:
    """A component's sources for a CUDA line and the wheels that it is compiled with; `earlier` were compiled before."""
    toolkit = find_toolkit(matrix, line)
    config = {
        "requirements": sorted({*toolkit.requirements, *component.requirements_for(line)}),
        "absent": sorted({*toolkit.absent, *component.absent_for(line)}),
        "compiled": [each.id for each in earlier],
        "sources": [asdict(source) for source in component.sources_for(line)],
        "platform": _platform(matrix),
    }
    if toolkit.override:
        config["override"] = sorted(toolkit.override)
    place = f"images/{component.image}/lock/{component.id}-{_slug(matrix, line)}.toml"
    return Slot(place, config)


def find_toolkit(matrix: Matrix, line: str) -> Recipe:
    """The recipe of the compilers of a CUDA line. Raises ConfigError where nobody has written one."""
    image = matrix.images.get(TOOLKIT)
    if image is None or (RECIPE, line) not in image.recipes:
        raise ConfigError(
            f"there are no compilers for CUDA {line}",
            f"images/{TOOLKIT}/image.toml",
            f'write [recipe.{RECIPE}."{line}"], or compile nothing for that line',
        )
    return image.recipes[RECIPE, line]


def list_compiled(matrix: Matrix) -> list[tuple[Component, str, tuple[Component, ...]]]:
    """Every component that a recipe compiles, each line of it once, with those that are compiled before it."""
    found: dict[tuple[str, str], tuple[Component, str, tuple[Component, ...]]] = {}
    for image in matrix.images.values():
        for (_, line), recipe in image.recipes.items():
            components = [matrix.components[each] for each in recipe.compile]
            for number, component in enumerate(components):
                earlier = select_earlier(component, line, components[:number])
                found.setdefault((component.id, line), (component, line, earlier))
    return list(found.values())


def select_earlier(component: Component, line: str, before: Sequence[Component]) -> tuple[Component, ...]:
    """Of what is compiled before a component, that which it is compiled with: what its requirements name."""
    named = {canonicalize_name(Requirement(text).name) for text in component.requirements_for(line)}
    return tuple(each for each in before if each.distribution in named)


def all_slots(matrix: Matrix) -> list[Slot]:
    """Every lock file of the project: tools, images without cells, and each recipe that is written, with its suite."""
    slots = [tools_slot(matrix)]
    for image in matrix.images.values():
        if has_packages(image):
            slots.append(image_slot(matrix, image))
        slots += [recipe_slot(matrix, image, key) for key in image.recipes]
        slots += [suite_slot(matrix, image, key) for key, recipe in image.recipes.items() if recipe.suite]
    slots += [component_slot(matrix, *each) for each in list_compiled(matrix)]
    return slots


def read_slot(root: Path, slot: Slot) -> Lock:
    """A slot's lock. Raises ConfigError where the matrix or image.toml now asks for something else."""
    lock = read_lock(root / slot.place, slot.place)
    if lock.config != slot.config_id:
        cause = "the lock is older than the matrix or the image.toml that it belongs to"
        raise ConfigError(cause, slot.place, "run `nox -s lock -- --stale`")
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
    for path in find_files(root, "images/*/lock/*", problems):
        place = path.relative_to(root).as_posix()
        if place not in known:
            problems.append(Problem("a lock that nothing uses", place, "delete it, or write the recipe it is for"))
    if problems:
        raise ConfigError(problems)


def _slug(matrix: Matrix, line: str) -> str:
    return matrix.cuda[line].slug if line in matrix.cuda else line


def _platform(matrix: Matrix) -> dict[str, str]:
    return {"python": matrix.platform.python, "glibc": matrix.platform.glibc}
