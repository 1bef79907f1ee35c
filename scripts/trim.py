"""What a run leaves behind, taken away: after every run what nobody needs, and on request all that no tag needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.assemble.types import Step
from scripts.buildkit.builder import Builder
from scripts.engine import Engine
from scripts.engine.images import list_images, remove_image, tags_of
from scripts.engine.remote import remove_left
from scripts.engine.sandbox import remove_abandoned
from scripts.errors import Undecided
from scripts.files import parse_json
from scripts.workspace import Workspace, list_folders, name_work

# Of the cache of inputs: what is made of them, and is made again in a minute or two.
DERIVED = ("partial", "layers", "bytecode", "audit", "sizes", "records")


def trim(workspace: Workspace, builder: Builder, steps: Iterable[Step]) -> None:
    """After a run: BuildKit's cache, layouts of earlier builds of these steps and their parents, interrupted work."""
    builder.prune()
    _remove_work(workspace)
    needed = {each.build_id: each.name for step in steps for each in _lineage(step)}
    names = set(needed.values())
    for folder in list_folders(workspace.layouts):
        name = _read(workspace.run(folder.name) / "build.json").get("name")
        if folder.name not in needed and (name is None or str(name) in names):
            _remove(workspace, folder.name, folder)


def clean(
    workspace: Workspace, engines: Sequence[Engine], builder: Builder | None, cache: Path, *, inputs: bool
) -> int:
    """Free everything that no tag needs, and with `inputs` the cache too; returns the bytes freed on this disk.

    `engines` are all that may have tags: evidence of what none of them has tagged goes. What another run holds just now
    stays.
    """
    before = shutil.disk_usage(workspace.root).free
    shutil.rmtree(workspace.contexts(""), ignore_errors=True)
    _remove_work(workspace)
    for folder in list_folders(workspace.layouts):
        _remove(workspace, folder.name, folder)
    for folder in [cache] if inputs else [cache / name for name in DERIVED]:
        shutil.rmtree(folder, ignore_errors=True)
    if builder:
        builder.prune(everything=True)
    for engine in engines:
        remove_abandoned(engine)
        remove_left(engine)
        for digest in list_images(engine):
            if not tags_of(engine, digest):
                remove_image(engine, digest)
    for run in list_folders(workspace.runs) if engines else ():
        digest = str(_read(run / "build.json").get("digest", ""))
        if not digest or not any(tags_of(engine, digest) for engine in engines):
            _remove(workspace, run.name, run)
    return max(0, shutil.disk_usage(workspace.root).free - before)


def _lineage(step: Step) -> list[Step]:
    """A step, and all images that its making needs: those below it, and those that its wheels are compiled in."""
    others = [*([step.parent] if step.parent else []), *(each.environment for each in step.compiled)]
    return [step, *(below for other in others for below in _lineage(other))]


def _remove_work(workspace: Workspace) -> None:
    for folder in list_folders(workspace.work):
        _remove(workspace, name_work(folder), folder)


def _remove(workspace: Workspace, name: str, folder: Path) -> None:
    try:
        with workspace.claim(name, patience_s=0):
            shutil.rmtree(folder, ignore_errors=True)
    except Undecided:
        return  # somebody is at work on it


def _read(path: Path) -> dict[str, object]:
    try:
        return dict(parse_json(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}
