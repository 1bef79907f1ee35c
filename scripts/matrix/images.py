"""Reading `images/*/image.toml`: one folder, one image."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from scripts.errors import Problem
from scripts.matrix.read_rules import read_audit_rule, read_link, read_omission, read_other_cuda, read_overlap
from scripts.matrix.read_scenarios import read_scenarios
from scripts.matrix.reader import Table, find_repeated, read_tables
from scripts.matrix.types import Image, Recipe, Suite, Upstream

NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")  # what a tag and a repository allow
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIN = re.compile(r"[a-z0-9-]+==\S+")


def load_images(
    root: Path, problems: list[Problem], cuda: Collection[str], recipes: tuple[str, ...]
) -> dict[str, Image]:
    """The images of a checkout by name; every mistake is noted in `problems`."""
    files = sorted((root / "images").glob("*/image.toml"))
    if not files:
        problems.append(Problem("no image.toml in any folder", "images", "run this in a checkout of the project"))
    images = {}
    for path, table in read_tables(root, files, problems):
        images[path.parent.name] = _image(path.parent, table, cuda, recipes)
    return images


def _image(folder: Path, table: Table, cuda: Collection[str], recipes: tuple[str, ...]) -> Image:
    if not NAME.fullmatch(folder.name):
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
        guard=table.flag("guard", False),
        recipes=dict(_recipes(table.table("recipe"), cuda, recipes)),
        scenarios=read_scenarios(table.tables("scenario")),
        audit=tuple(map(read_audit_rule, table.tables("audit"))),
        omissions=tuple(map(read_omission, table.tables("omit"))),
        overlaps=tuple(map(read_overlap, table.tables("overlap"))),
        other_cuda=tuple(map(read_other_cuda, table.tables("other-cuda"))),
        links=tuple(map(read_link, table.tables("link"))),
    )
    table.finish()
    if not cells and (image.recipes or image.scenarios):
        table.note("an image with `cells = false` is never judged, so it has neither recipes nor scenarios")
    if image.recipes and not any(scenario.required for scenario in image.scenarios):
        table.note("has a recipe but no [[scenario]] that is required: nothing could ever accept it")
    return image


def _recipes(table: Table, cuda: Collection[str], recipes: tuple[str, ...]) -> list[tuple[tuple[str, str], Recipe]]:
    found = []
    for name, lines in [(name, table.table(name)) for name in table.names()]:
        if recipes and name not in recipes:
            table.note(f"unknown recipe `{name}`", next_step=f"one of: {', '.join(recipes)}")
        for line, item in [(line, lines.table(line)) for line in lines.names()]:
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
        override=table.requirements("override", ()),
        arguments=table.strings("arguments", ()),
        upstream=tuple(_upstream(item, is_wheel=True) for item in table.tables("upstream")),
        compile=table.strings("compile", ()),
        archives=tuple(_upstream(item, is_wheel=False) for item in table.tables("archives")),
        suite=_suite(table.table("suite")) if "suite" in table else None,
    )
    if recipe.suite and recipe.suite.sdist.partition("==")[2] != recipe.version:
        table.note(f"`{recipe.suite.sdist}` has the tests of another version than {recipe.version}", "suite.sdist")
    overridden = [canonicalize_name(re.split(r"[^\w.-]", item, maxsplit=1)[0]) for item in recipe.override]
    for name in find_repeated([*map(canonicalize_name, recipe.absent), *overridden]):
        table.note(f"`{name}` stands twice, or in `absent` as well", "override", "leave one of them")
    table.finish()
    return recipe


def _suite(table: Table) -> Suite:
    suite = Suite(table.string("sdist"), table.string("folder"), table.strings("requirements"))
    for key, pins in (("sdist", [suite.sdist]), ("requirements", suite.requirements)):
        for pin in pins:
            if pin and not _PIN.fullmatch(pin):
                table.note(f"`{pin}`: expected `name==version`, the name in its normalised spelling", key)
    if suite.folder and not NAME.fullmatch(suite.folder):
        table.note(f"`{suite.folder}` cannot be a package in the sdist", "folder")
    table.finish()
    return suite


def _upstream(table: Table, *, is_wheel: bool) -> Upstream:
    upstream = Upstream(table.string("file"), table.string("sha256"), table.number("size"), table.string("url"))
    if upstream.sha256 and not _SHA256.fullmatch(upstream.sha256):
        table.note("expected 64 hexadecimal digits", "sha256")
    if is_wheel and upstream.file and not _is_wheel(upstream.file):
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


def _named(table: Table, key: str) -> str:
    value = table.string(key)
    if value and not NAME.fullmatch(value):
        table.note(f"`{value}` cannot be part of a tag", key, "use lower-case letters, digits, `-`, `_` and `.`")
    return value
