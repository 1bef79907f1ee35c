"""What a compile step sees: the program that all steps share, the component's own files, and its sources."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.assemble.types import CompileStep, SourceTree
from scripts.errors import ConfigError
from scripts.fetch import Cache
from scripts.files import link_or_copy, naming_disk_full
from scripts.matrix import Memory
from scripts.model import LockedFile

NOTHING = "-"  # stands in the table of sources where there is no value: it is read by `read`, which drops empty ones


@dataclass(frozen=True)
class Contexts:
    """Three folders: `program` is the build's own context, `component` and `sources` are mounted under these names."""

    program: Path
    component: Path
    sources: Path


def lay_out(
    step: CompileStep, program: Path, cache: Cache, folder: Path, settings: Mapping[str, str] | None = None
) -> Contexts:
    """Make a step's contexts under a folder; its sources are in the cache.

    `settings` are variables beside the step's own, which have no part in what comes out of it; `program` is the folder
    of the files that all steps share. Raises ConfigError for a name that cannot be written.
    """
    made = Contexts(folder / "program", folder / "component", folder / "sources")
    for path in (made.program, made.component / "patches", made.sources):
        path.mkdir(parents=True)
    for path in sorted(program.iterdir()):
        if path.is_file():
            _copy(path, made.program / path.name)
    _copy(step.component.script, made.component / "build")
    for patch in step.component.patches():
        _copy(patch, made.component / "patches" / patch.name)
    _write(made.component / "environment", render_variables({**step.variables, **(settings or {})}))
    _write(made.component / "units", render_memory(step.component.memory))
    rows = []
    for item in step.sources:
        path, file = _locate(item, cache)
        link_or_copy(path, made.sources / file)
        rows.append(render_source(item, file))
    _write(made.component / "sources", "".join(rows))
    return made


def render_variables(variables: dict[str, str]) -> str:
    """Variables as a shell reads them, exported."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def render_memory(memory: Memory) -> str:
    """The rules of `unit`: `GIB PATTERN` lines, of which the first that matches a unit's source decides."""
    rules = [*((gib, pattern) for pattern, gib in memory.heavy), (memory.unit, "*")]
    return "".join(f"{gib:g} {pattern}\n" for gib, pattern in rules)


def render_source(item: SourceTree, file: str) -> str:
    """A row of the table of sources: name, file, how many leading folders to strip, the folder meant, the variable."""
    strip = 1 if isinstance(item.source, LockedFile) else 0  # released archives hold one folder, git trees none
    fields = [item.name, file, str(strip), item.folder or NOTHING, item.variable or NOTHING]
    if any(not field or field.split() != [field] for field in fields):
        raise ConfigError(f"a space or nothing in the source's fields ({', '.join(fields)})", item.name, "rename it")
    return " ".join(fields) + "\n"


def _locate(item: SourceTree, cache: Cache) -> tuple[Path, str]:
    """Where a source lies in the cache, and the name that it gets."""
    if isinstance(item.source, LockedFile):
        return cache.path(item.source.sha256), item.source.file
    return cache.tree(item.source), f"{item.name}-{item.source.commit}.tar"


def _copy(source: Path, destination: Path) -> None:
    with naming_disk_full(destination):
        shutil.copyfile(source, destination)
    destination.chmod(0o755)  # a checkout's modes depend on the umask of whoever cloned it


def _write(path: Path, text: str) -> None:
    with naming_disk_full(path):
        path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
