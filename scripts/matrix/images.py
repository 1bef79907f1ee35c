"""Reading `images/*/image.toml`: one folder, one image."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from scripts.errors import Problem
from scripts.matrix.find import find_files
from scripts.matrix.names import ADDRESS, LETTERS, is_file_name, is_name
from scripts.matrix.read_rules import read_audit_rule, read_link, read_omission, read_other_cuda, read_overlap
from scripts.matrix.read_scenarios import read_scenarios
from scripts.matrix.reader import Table, find_repeated, read_tables
from scripts.matrix.types import Image, Recipe, Suite, Upstream
from scripts.text import name_some

_NONE = "there is none yet: write one into matrix.toml"
_SUITE = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIN = re.compile(r"[a-z0-9-]+==[!-~]+")


def load_images(
    root: Path, problems: list[Problem], cuda: Collection[str] | None, recipes: tuple[str, ...]
) -> dict[str, Image]:
    """The images of a checkout by name; every mistake is noted in `problems`. `cuda` is None where it is unknown."""
    before = len(problems)
    files = find_files(root, "images/*/image.toml", problems)
    if not files and len(problems) == before:
        problems.append(Problem("no image.toml in any folder", "images", "run this in a checkout of the project"))
    images = {}
    for path, table in read_tables(root, files, problems):
        images[path.parent.name] = _image(path.parent, table, cuda, recipes)
    return images


def _image(folder: Path, table: Table, cuda: Collection[str] | None, recipes: tuple[str, ...]) -> Image:
    if not is_name(folder.name):
        table.note(f"the folder's name `{folder.name}` cannot name a repository", next_step=LETTERS)
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
        cause = "an image with `cells = false` is never judged, so it has neither recipes nor scenarios"
        table.note(cause, next_step="delete them, or that line")
    if image.recipes and not any(scenario.required for scenario in image.scenarios):
        cause = "has a recipe but no [[scenario]] that is required: nothing could ever accept it"
        table.note(cause, next_step="write one")
    return image


def _recipes(
    table: Table, cuda: Collection[str] | None, recipes: tuple[str, ...]
) -> list[tuple[tuple[str, str], Recipe]]:
    known = frozenset(recipes)
    found = []
    for name, lines in [(name, table.table(name)) for name in table.names()]:
        if known and name not in known:
            table.note(f"unknown recipe `{name}`", next_step=name_some(recipes, _NONE))
        for line, item in [(line, lines.table(line)) for line in lines.names()]:
            if cuda is not None and line not in (*cuda, "cpu"):
                lines.note(f"unknown CUDA line `{line}`", next_step=name_some([*cuda, "cpu"]))
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
        cause = f"`{recipe.suite.sdist}` has the tests of another version than {recipe.version}"
        table.note(cause, "suite.sdist", "name the sdist of that version")
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
                cause = f"`{pin}`: expected `name==version`, the name in its normalised spelling"
                table.note(cause, key, "write it so")
    if suite.folder and not _SUITE.fullmatch(suite.folder):
        table.note(f"`{suite.folder}` cannot be a package in the sdist", "folder", "name the folder of its tests")
    table.finish()
    return suite


def _upstream(table: Table, *, is_wheel: bool) -> Upstream:
    upstream = Upstream(table.string("file"), table.string("sha256"), table.number("size"), table.string("url"))
    if upstream.sha256 and not _SHA256.fullmatch(upstream.sha256):
        table.note("expected 64 hexadecimal digits", "sha256", "write the file's SHA-256")
    if is_wheel and upstream.file and not _is_wheel(upstream.file):
        table.note(f"`{upstream.file}` is not the file name of a wheel", "file", "name it as upstream does")
    elif upstream.file and not is_file_name(upstream.file):
        table.note(f"`{upstream.file}` is not a plain file name", "file", "name it as upstream does")
    if upstream.url and not ADDRESS.fullmatch(upstream.url):
        table.note("expected an https:// address", "url", "write https:// and what follows")
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
    if value and not is_name(value):
        table.note(f"`{value}` cannot be part of a tag", key, LETTERS)
    return value
