"""Reading `matrix.toml` and `images/*/image.toml`."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from scripts.errors import ConfigError, Problem
from scripts.matrix.cells import find_clashes, find_idle_exclusions, find_idle_recipes
from scripts.matrix.reader import Table, parse_toml
from scripts.matrix.types import Exclusion, Image, Matrix, Platform, Recipe, Smoke, Tools, Upstream
from scripts.model import CudaLine, Target

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")  # what a tag and a repository allow
_VERSION = re.compile(r"\d+(\.\d+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def load_matrix(root: Path) -> Matrix:
    """The matrix of a checkout. Raises one ConfigError that holds every mistake found in all of its files."""
    problems: list[Problem] = []
    table = Table(parse_toml(root / "matrix.toml", "matrix.toml"), "matrix.toml", problems)
    if table.number("version") != 1 and "version" in table:
        table.note("this program reads version 1", "version", "upgrade the program or the file")
    recipes = table.strings("recipes")
    for name in recipes:
        if not _NAME.fullmatch(name):
            table.note(f"`{name}` cannot be part of a cell's id", "recipes")
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
        images=_images(root, problems, cuda, recipes),
    )
    table.finish()
    problems += _references(matrix, problems)
    if problems:
        raise ConfigError(problems)
    return matrix


def _entries(table: Table) -> list[tuple[str, Table]]:
    return [(key, table.table(key)) for key in table.names()]


def _cuda(key: str, table: Table) -> CudaLine:
    line = CudaLine(key, toolkit=_version(table, "toolkit"), driver=_version(table, "driver"))
    if line.toolkit and not line.toolkit.startswith(f"{key}."):
        table.note(f"toolkit {line.toolkit} is not of the line {key}", "toolkit")
    table.finish()
    return line


def _target(key: str, table: Table, recipes: tuple[str, ...]) -> Target:
    target = Target(
        id=key,
        name=table.string("name"),
        recipe=table.string("recipe"),
        compute=_version(table, "compute", ""),
        driver=_version(table, "driver", ""),
        memory=table.number("memory", 0),
    )
    if not _NAME.fullmatch(key):
        table.note(f"`{key}` cannot be part of a tag", next_step="use lower-case letters, digits, `-`, `_` and `.`")
    if target.recipe and recipes and target.recipe not in recipes:
        table.note(f"unknown recipe `{target.recipe}`", "recipe", f"one of: {', '.join(recipes)}")
    for key in ("driver", "memory"):
        if target.has_gpu and key not in table:
            table.note(f"missing key `{key}`, which a target with a compute capability needs")
    table.finish()
    return target


def _exclusion(table: Table) -> Exclusion:
    fields = {key: table.string(key, "") for key in ("image", "cuda", "target", "recipe")}
    if not any(fields.values()):
        table.note("names no image, cuda, target or recipe, so it would exclude everything")
    exclusion = Exclusion(reason=table.string("reason"), **fields)
    table.finish()
    return exclusion


def _platform(table: Table) -> Platform:
    platform = Platform(_version(table, "python"), _version(table, "glibc"), table.strings("suites"))
    for key, value in (("python", platform.python), ("glibc", platform.glibc)):
        if _VERSION.fullmatch(value) and value.count(".") != 1:
            table.note(f"`{value}` is not of the form X.Y", key)
    table.finish()
    return platform


def _tools(table: Table) -> Tools:
    uv = _version(table, "uv")
    return Tools(uv, {suite: table.strings(suite) for suite in table.names() if suite != "uv"})


def _images(
    root: Path, problems: list[Problem], cuda: dict[str, CudaLine], recipes: tuple[str, ...]
) -> dict[str, Image]:
    files = sorted((root / "images").glob("*/image.toml"))
    if not files:
        problems.append(Problem("no image.toml in any folder", "images", "run this in a checkout of the project"))
    images = {}
    for path in files:
        place = path.relative_to(root).as_posix()
        try:
            table = Table(parse_toml(path, place), place, problems)
        except ConfigError as error:
            problems += error.problems
            continue
        images[path.parent.name] = _image(path.parent, table, cuda, recipes)
    return images


def _image(folder: Path, table: Table, cuda: dict[str, CudaLine], recipes: tuple[str, ...]) -> Image:
    if not _NAME.fullmatch(folder.name):
        table.note(f"the folder's name `{folder.name}` cannot name a repository")
    cells = table.flag("cells", True)
    image = Image(
        name=folder.name,
        folder=folder,
        summary=table.string("summary"),
        source=table.string("source"),
        licenses=table.string("licenses"),
        cells=cells,
        parent=table.string("parent", ""),
        version="" if cells else table.string("version"),
        packages=table.strings("packages", ()),
        recipes=dict(_recipes(table.table("recipe"), cuda, recipes)),
        smoke=_smoke(table.table("smoke")) if "smoke" in table else None,
    )
    table.finish()
    if not cells and (image.recipes or image.smoke):
        table.note("an image with `cells = false` is never judged, so it has neither recipes nor smoke checks")
    if image.recipes and not image.smoke:
        table.note("has a recipe but no [smoke]: nothing could ever accept it")
    return image


def _recipes(table: Table, cuda: dict[str, CudaLine], recipes: tuple[str, ...]) -> list[tuple[tuple[str, str], Recipe]]:
    found = []
    for name, lines in _entries(table):
        if recipes and name not in recipes:
            table.note(f"unknown recipe `{name}`", next_step=f"one of: {', '.join(recipes)}")
        for line, item in _entries(lines):
            if line not in (*cuda, "cpu"):
                lines.note(f"unknown CUDA line `{line}`", next_step=f"one of: {', '.join(cuda)}, cpu")
            found.append(((name, line), _recipe(item)))
    return found


def _recipe(table: Table) -> Recipe:
    recipe = Recipe(
        version=_named(table, "version"),
        revision=table.string("revision"),
        requirements=table.strings("requirements"),
        absent=table.strings("absent", ()),
        upstream=tuple(map(_upstream, table.tables("upstream"))),
    )
    table.finish()
    return recipe


def _upstream(table: Table) -> Upstream:
    upstream = Upstream(table.string("file"), table.string("sha256"), table.number("size"), table.string("url"))
    if upstream.sha256 and not _SHA256.fullmatch(upstream.sha256):
        table.note("expected 64 hexadecimal digits", "sha256")
    if upstream.file and not _is_wheel(upstream.file):
        table.note(f"`{upstream.file}` is not the file name of a wheel", "file")
    if upstream.url and not upstream.url.startswith("https://"):
        table.note("expected an https:// address", "url")
    table.finish()
    return upstream


def _is_wheel(file: str) -> bool:
    try:
        parse_wheel_filename(file)
    except InvalidWheelFilename:
        return False
    return True


def _smoke(table: Table) -> Smoke:
    smoke = Smoke(table.strings("checks"), table.number("timeout_s"), table.number("memory_gib"))
    for key in ("timeout_s", "memory_gib"):
        if key in table and not getattr(smoke, key):
            table.note("must be more than 0", key)
    table.finish()
    return smoke


def _named(table: Table, key: str) -> str:
    value = table.string(key)
    if value and not _NAME.fullmatch(value):
        table.note(f"`{value}` cannot be part of a tag", key, "use lower-case letters, digits, `-`, `_` and `.`")
    return value


def _version(table: Table, key: str, default: str | None = None) -> str:
    value = table.string(key, default)
    if value and not _VERSION.fullmatch(value):
        table.note(f"`{value}` is not a version like 12.8", key)
    return value


def _references(matrix: Matrix, found: list[Problem]) -> list[Problem]:
    """What can only be checked with all files read: parents, cycles of parents, and exclusions."""
    problems = []
    parents = [image.name for image in matrix.images.values() if not image.cells]
    for image in matrix.images.values():
        place = f"images/{image.name}/image.toml"
        if image.parent and image.parent not in matrix.images:
            problems.append(Problem(f"unknown parent `{image.parent}`", place, f"one of: {', '.join(parents)}"))
        elif image.parent and matrix.images[image.parent].cells:
            problems.append(
                Problem(f"parent `{image.parent}` is built in cells", place, "name a `cells = false` image")
            )
        if chain := _cycle(matrix, image.name):
            problems.append(Problem(f"a cycle of parents: {' → '.join(chain)}", place, "let one of them stand alone"))
    # Which cells exist is unknown while anything is broken: its mistake would be reported a second time, as another.
    if not problems and not found and matrix.images and matrix.recipes:
        problems += find_idle_exclusions(matrix) + find_clashes(matrix) + find_idle_recipes(matrix)
    return problems


def _cycle(matrix: Matrix, name: str) -> list[str]:
    chain = [name]
    while (parent := matrix.images[chain[-1]].parent) and parent in matrix.images:
        chain.append(parent)
        if parent in chain[:-1]:
            return chain if parent == name else []  # reported where it starts, once per member
    return []
