"""Reading `matrix.toml` and `images/*/image.toml`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.errors import ConfigError, Problem
from scripts.matrix.cells import (
    find_clashes,
    find_idle_exclusions,
    find_idle_recipes,
    find_idle_rules,
    find_mixed_recipes,
    find_wrong_components,
)
from scripts.matrix.images import load_images
from scripts.matrix.names import COMPUTE, CUDA_LINE, LETTERS, VERSION, is_name
from scripts.matrix.read_components import load_components
from scripts.matrix.reader import Table, parse_toml
from scripts.matrix.tags import find_long_tags, find_shared_tags
from scripts.matrix.types import Exclusion, Matrix, Platform, Tools
from scripts.model import CudaLine, Target
from scripts.text import name_some

_NONE = "there is none yet: write one"


@contextmanager
def _without_collector() -> Iterator[None]:
    """Look for no garbage while a block runs: what is read stays, and of 10,000 recipes looking took a fifth."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
def load_matrix(root: Path) -> Matrix:
    """The matrix of a checkout. Raises one ConfigError that holds every mistake found in all of its files."""
    problems: list[Problem] = []
    try:
        table = Table(parse_toml(root / "matrix.toml", "matrix.toml"), "matrix.toml", problems)
    except ConfigError as error:
        raise ConfigError([*error.problems, *_find_others(root)]) from error
    if table.number("version") != 1 and "version" in table:
        table.note("this program reads version 1", "version", "upgrade the program or the file")
    recipes = table.strings("recipes")
    for name in recipes:
        if not is_name(name):
            table.note(f"`{name}` cannot be part of a cell's id", "recipes", LETTERS)
    cuda = {key: _cuda(key, item) for key, item in _entries(table.table("cuda"))}
    targets = {key: _target(key, item, recipes) for key, item in _entries(table.table("targets"))}
    matrix = Matrix(
        root=root,
        recipes=recipes,
        cuda=cuda,
        targets=targets,
        exclusions=tuple(map(_exclusion, table.tables("exclude"))),
        platform=_platform(table.table("platform")),
        tools=_tools(table.table("tools")),
        slim=table.flag("slim", True),
        images=load_images(root, problems, cuda, recipes),
        components=load_components(root, problems, cuda),
    )
    table.finish()
    problems += _references(matrix, problems)
    if problems:
        raise ConfigError(problems)
    return matrix


def _find_others(root: Path) -> list[Problem]:
    """What is wrong with the other files, where matrix.toml cannot be read: what refers to it is not looked at."""
    problems: list[Problem] = []
    if (root / "images").is_dir():
        load_images(root, problems, None, ())
        load_components(root, problems, None)
    return problems


def _entries(table: Table) -> list[tuple[str, Table]]:
    return [(key, table.table(key)) for key in table.names()]


def _cuda(key: str, table: Table) -> CudaLine:
    line = CudaLine(key, toolkit=_version(table, "toolkit"), driver=_version(table, "driver"))
    if line.toolkit and not line.toolkit.startswith(f"{key}."):
        table.note(f"toolkit {line.toolkit} is not of the line {key}", "toolkit", f"name a release {key}.Z of it")
    if not CUDA_LINE.fullmatch(key):
        table.note(f"`{key}` is not a CUDA line", next_step="write it as 12.8: major and minor")
    table.finish()
    return line


def _target(key: str, table: Table, recipes: tuple[str, ...]) -> Target:
    target = Target(
        id=key,
        name=table.string("name"),
        recipe=table.string("recipe"),
        compute=table.string("compute", ""),
        driver=_version(table, "driver", ""),
        memory=table.number("memory", 0),
    )
    if target.compute and not COMPUTE.fullmatch(target.compute):
        table.note(f"`{target.compute}` is not a compute capability", "compute", "write it as 12.0: major and minor")
    if not is_name(key):
        table.note(f"`{key}` cannot be part of a tag", next_step=LETTERS)
    if target.recipe and recipes and target.recipe not in recipes:
        table.note(f"unknown recipe `{target.recipe}`", "recipe", name_some(recipes, _NONE))
    for key in ("driver", "memory"):
        if target.has_gpu and key not in table:
            cause = f"missing key `{key}`, which a target with a compute capability needs"
            table.note(cause, next_step=f"write `{key} = …` there")
    table.finish()
    return target


def _exclusion(table: Table) -> Exclusion:
    fields = {key: table.string(key, "") for key in ("image", "cuda", "target", "recipe")}
    if not any(fields.values()):
        table.note("names no image, cuda, target or recipe, so it would exclude everything", next_step="name one")
    exclusion = Exclusion(reason=table.string("reason"), **fields)
    table.finish()
    return exclusion


def _platform(table: Table) -> Platform:
    platform = Platform(_version(table, "python"), _version(table, "glibc"), table.strings("suites"))
    for key, value in (("python", platform.python), ("glibc", platform.glibc)):
        if VERSION.fullmatch(value) and value.count(".") != 1:
            table.note(f"`{value}` is not of the form X.Y", key, "write major and minor alone")
    table.finish()
    return platform


def _tools(table: Table) -> Tools:
    uv = _version(table, "uv")
    return Tools(uv, {suite: table.strings(suite) for suite in table.names() if suite != "uv"})


def _version(table: Table, key: str, default: str | None = None) -> str:
    value = table.string(key, default)
    if value and not VERSION.fullmatch(value):
        table.note(f"`{value}` is not a version like 12.8", key, "write digits and dots")
    return value


def _references(matrix: Matrix, found: list[Problem]) -> list[Problem]:
    """What can only be checked with all files read: parents, cycles of parents, and exclusions."""
    problems = []
    parents = [image.name for image in matrix.images.values() if not image.cells]
    for image in matrix.images.values():
        place = f"images/{image.name}/image.toml"
        if image.parent and image.parent not in matrix.images:
            problems.append(Problem(f"unknown parent `{image.parent}`", place, name_some(parents, _NONE)))
        elif image.parent and matrix.images[image.parent].cells:
            problems.append(
                Problem(f"parent `{image.parent}` is built in cells", place, "name a `cells = false` image")
            )
        if chain := _cycle(matrix, image.name):
            problems.append(Problem(f"a cycle of parents: {' → '.join(chain)}", place, "let one of them stand alone"))
    problems += find_wrong_components(matrix)
    # Which cells exist is unknown while anything is broken: its mistake would be reported a second time, as another.
    if not problems and not found and matrix.images and matrix.recipes:
        # Under different recipes unsaid, candidates clash for that reason alone.
        cells = matrix.cells
        clashes = find_mixed_recipes(matrix) or find_clashes(matrix, cells) or find_shared_tags(matrix, cells)
        problems += find_idle_exclusions(matrix) + clashes
        problems += find_idle_recipes(matrix, cells) + find_idle_rules(matrix, cells) + find_long_tags(matrix, cells)
    return problems


def _cycle(matrix: Matrix, name: str) -> list[str]:
    chain = [name]
    while (parent := matrix.images[chain[-1]].parent) and parent in matrix.images:
        chain.append(parent)
        if parent in chain[:-1]:
            return chain if parent == name else []  # reported where it starts, once per member
    return []
