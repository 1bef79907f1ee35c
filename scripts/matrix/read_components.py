"""Reading `images/*/components/*/*.toml`: one file, one version of a component."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from scripts.errors import Problem
from scripts.matrix.components import Component, ComponentLine, Memory, Source
from scripts.matrix.find import find_files
from scripts.matrix.names import ADDRESS, LETTERS, LONGEST_NAME, NAME, is_name
from scripts.matrix.reader import Table, find_repeated, read_tables
from scripts.text import name_some

_NONE = "there is none yet: write one into matrix.toml"
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SDIST = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[!-~]+)")
_KINDS = ("sdist", "url", "repository")


def load_components(root: Path, problems: list[Problem], cuda: Collection[str] | None) -> dict[str, Component]:
    """The components of a checkout by id; every mistake is noted in `problems`."""
    found: dict[str, Component] = {}
    files = find_files(root, "images/*/components/*/*.toml", problems)
    for path, table in read_tables(root, files, problems):
        component = _read_component(path, table, cuda)
        if component.id in found:
            table.note(f"`{component.id}` is also images/{found[component.id].image}'s", next_step="rename one of them")
        found[component.id] = component
    return found


def _read_component(path: Path, table: Table, cuda: Collection[str] | None) -> Component:
    cost = table.table("cost") if "cost" in table else None
    component = Component(
        name=path.parent.name,
        version=path.stem,
        folder=path.parent,
        distribution=table.string("distribution"),
        requirements=table.requirements("requirements"),
        absent=table.strings("absent", ()),
        memory=_read_memory(table.table("memory")),
        sources=tuple(_read_source(item, cuda) for item in table.tables("source")),
        lines={line: _read_line(item) for line, item in _lines(table.table("lines"), cuda)},
        arguments=_read_arguments(table.table("arguments")),
        units=cost.number("units") if cost else 0,
        cpu_minutes=cost.number("cpu_minutes") if cost else 0,
    )
    if cost:
        cost.finish()
    if component.distribution and component.distribution != canonicalize_name(component.distribution):
        table.note(
            f"`{component.distribution}` is spelled `{canonicalize_name(component.distribution)}`",
            "distribution",
            "write it so",
        )
    if not is_name(component.name):
        table.note(f"the folder's name `{component.name}` cannot be part of a name", next_step=LETTERS)
    try:
        if len(component.version) > LONGEST_NAME:
            raise InvalidVersion
        Version(component.version)
    except InvalidVersion:
        table.note(f"the file's name `{component.version}` is not a version", next_step="name it as 0.29.0.toml")
    if not component.script.is_file():
        table.note("there is no build script beside it", next_step="write an executable file `build`")
    if not component.lines:
        table.note("is for no CUDA line", "lines", 'name one: [lines."13.0"]')
    _check_sources(component, table)
    table.finish()
    return component


def _check_sources(component: Component, table: Table) -> None:
    for line in component.lines:
        sources = component.sources_for(line)
        for name in find_repeated([source.name for source in sources]):
            table.note(f"`{name}` stands twice for CUDA {line}", "source", "leave one of them")
        if not sources or sources[0].lines or sources[0] is not component.sources[0]:
            table.note(
                "the first source is the main one, and is for every line", "source", "let the first name no `lines`"
            )
        elif sources[0].pin:
            table.note("the first source is the one that pins are read in", "source.1.pin", "write its `commit`")


def _lines(table: Table, cuda: Collection[str] | None) -> list[tuple[str, Table]]:
    for line in table.names():
        if cuda is not None and line not in cuda:
            table.note(f"unknown CUDA line `{line}`", next_step=name_some(cuda, _NONE))
    return [(line, table.table(line)) for line in table.names()]


def _read_line(table: Table) -> ComponentLine:
    line = ComponentLine(
        requirements=table.requirements("requirements", ()),
        absent=table.strings("absent", ()),
        arguments=_read_arguments(table.table("arguments")),
    )
    table.finish()
    return line


def _read_memory(table: Table) -> Memory:
    heavy = []
    for item in table.tables("heavy"):
        pattern, gib = item.string("units"), item.amount("gib")
        if pattern.split() != [pattern]:
            item.note("expected a pattern without spaces", "units", "write `*` for them")
        heavy.append((pattern, gib))
        item.finish()
    memory = Memory(table.amount("unit"), tuple(heavy))
    table.finish()
    return memory


def _read_arguments(table: Table) -> dict[str, str]:
    found = {}
    for name in table.names():
        if not _VARIABLE.fullmatch(name):
            table.note(f"`{name}` is not a variable's name", name, "use capitals, digits and `_`")
        found[name] = table.string(name)
    return found


def _read_source(table: Table, cuda: Collection[str] | None) -> Source:
    kinds = [kind for kind in _KINDS if kind in table]
    if len(kinds) != 1:
        cause = f"expected one of {', '.join(_KINDS)}, found {' and '.join(kinds) or 'none'}"
        table.note(cause, next_step="leave one of them" if kinds else "write one of them")
    kind = kinds[0] if kinds else ""
    is_git, is_archive = kind == "repository", kind == "url"
    source = Source(
        name=table.string("name"),
        sdist=table.string("sdist", ""),
        url=table.string("url", ""),
        sha256=table.string("sha256", None if is_archive else ""),
        size=table.number("size", 0),
        repository=table.string("repository", ""),
        commit=table.string("commit", ""),
        tag=table.string("tag", ""),
        pin=table.string("pin", ""),
        submodules=table.some_strings("submodules") if "submodules" in table else None,
        lines=table.strings("lines", ()),
        folder=table.string("folder", ""),
        variable=table.string("variable", ""),
    )
    for key in ("commit", "tag", "submodules"):
        if key in table and not is_git:
            table.note("is said of a git repository alone", key, "delete it, or write a `repository`")
    if "pin" in table and kind == "sdist":
        table.note("an sdist is what its version says", "pin", "delete it")
    if is_git and not (source.commit or source.pin):
        cause = "missing key `commit`, or `pin`: the file in which upstream's build names it"
        table.note(cause, next_step="write one of them")
    _check_values(source, table, cuda)
    table.finish()
    return source


def _check_values(source: Source, table: Table, cuda: Collection[str] | None) -> None:
    checks = (
        ("name", NAME, "a name of lower-case letters, digits, `-`, `_` and `.`"),
        ("sdist", _SDIST, "`name==version`, the name in its normalised spelling"),
        ("sha256", _SHA256, "64 hexadecimal digits"),
        ("commit", _COMMIT, "40 hexadecimal digits"),
        ("variable", _VARIABLE, "capitals, digits and `_`"),
        ("url", ADDRESS, "an https:// address"),
        ("repository", ADDRESS, "an https:// address"),
    )
    for key, pattern, expected in checks:
        value = getattr(source, key)
        if value and not pattern.fullmatch(value):
            table.note(f"`{value}`: expected {expected}", key, "write it so")
    for key in ("folder", "pin"):
        path = PurePosixPath(getattr(source, key))
        if path.is_absolute() or ".." in path.parts:
            table.note(f"`{path}` leads out of the source", key, "write a path in it")
    for line in source.lines:
        if cuda is not None and line not in cuda:
            table.note(f"unknown CUDA line `{line}`", "lines", name_some(cuda, _NONE))
