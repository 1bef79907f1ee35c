"""reproduce: build a cell and all it stands on again, from nothing, and compare it with what was built before."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.build.build import export
from scripts.build.compare import compare_layouts
from scripts.build.inputs import slim_step
from scripts.build.layout import Layout
from scripts.build.steps import Step, make_steps
from scripts.console import step as announce
from scripts.pipeline import Builder
from scripts.plan import PlannedCell, require_buildable
from scripts.project import Project, open_engine


@dataclass(frozen=True)
class Reproduction:
    """One step built twice: both digests, and the lines that tell the difference (none: identical)."""

    name: str
    first: str
    second: str
    differences: tuple[str, ...]


def reproduce(project: Project, plan: list[PlannedCell]) -> list[Reproduction]:
    """Build every step of these cells again, caches off, under another umask and in another folder, and compare."""
    require_buildable(plan)
    steps = make_steps(project.matrix, plan)
    with project.workspace.claim():
        engine = open_engine(project)
        builder = Builder(project, engine)
        first = {step.name: builder.build(step) for step in steps}
        with _other_surroundings() as folder:
            second: dict[str, Layout] = {}
            for step in steps:
                second[step.name] = _build_again(builder, step, second, folder)
            made = [_compare(step.name, first[step.name], second[step.name]) for step in steps]
        builder.buildkit.prune()
    return made


def _build_again(builder: Builder, step: Step, second: dict[str, Layout], folder: Path) -> Layout:
    cache = builder.fetch(step)
    step = slim_step(step, cache)
    log = builder.project.workspace.run(step.build_id) / "reproduce.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with announce(step.name, "build again") as update:
        builder.buildkit.prune()
        # A child is built on the rebuilt parent: the whole chain must come out the same.
        parent = second[step.parent.name] if step.parent else None
        return export(step, builder.buildkit, cache, folder / step.name, parent, log, update, cached=False)


def _compare(name: str, first: Layout, second: Layout) -> Reproduction:
    return Reproduction(name, first.digest, second.digest, tuple(compare_layouts(first, second)))


@contextmanager
def _other_surroundings() -> Iterator[Path]:
    """A folder outside the checkout and a strict umask: what a build must not depend on."""
    before = os.umask(0o077)
    folder = Path(tempfile.mkdtemp(prefix="hallmark-reproduce-", dir=os.environ.get("TMPDIR", "/var/tmp")))  # noqa: S108
    try:
        yield folder
    finally:
        os.umask(before)
        shutil.rmtree(folder, ignore_errors=True)
