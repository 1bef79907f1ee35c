"""What a run leaves behind, taken away: after every run what nobody needs, and on request all that no tag needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from scripts.build.steps import Step
from scripts.engine import Engine
from scripts.engine.images import list_images, remove_image, tags_of
from scripts.workspace import Workspace


def trim(workspace: Workspace, engine: Engine, steps: Iterable[Step]) -> None:
    """After a run: work folders, BuildKit's cache, and layouts of these steps' earlier builds."""
    shutil.rmtree(workspace.work, ignore_errors=True)
    engine.prune_build_cache()
    current = {step.build_id for step in steps}
    names = {step.name for step in steps}
    for folder in _folders(workspace.layouts):
        name = _read(workspace.run(folder.name) / "build.json").get("name")
        if folder.name not in current and (name is None or str(name) in names):
            shutil.rmtree(folder)


def clean(workspace: Workspace, engine: Engine | None, cache: Path, *, inputs: bool) -> int:
    """Free everything that no tag needs, and with `inputs` the cache too; returns the bytes freed on this disk."""
    before = shutil.disk_usage(workspace.root).free
    for folder in (
        workspace.work,
        workspace.contexts(""),
        workspace.layouts,
        cache / "partial",
        *([cache] if inputs else []),
    ):
        shutil.rmtree(folder, ignore_errors=True)
    if engine:
        engine.prune_build_cache()
        for digest in list_images(engine):
            if not tags_of(engine, digest):
                remove_image(engine, digest)
        for run in _folders(workspace.runs):
            digest = str(_read(run / "build.json").get("digest", ""))
            if not digest or not tags_of(engine, digest):
                shutil.rmtree(run)
    return max(0, shutil.disk_usage(workspace.root).free - before)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _read(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}
