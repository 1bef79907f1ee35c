"""reproduce: assemble a candidate and all it stands on again, from nothing, and compare it with the first."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.assemble.steps import Step
from scripts.oci.compare import compare_layouts
from scripts.oci.layout import Layout
from scripts.pipeline.bench import Bench
from scripts.pipeline.obtain import obtain, obtain_layout


@dataclass(frozen=True)
class Reproduction:
    """One image assembled twice: both digests, and the lines that tell the difference (none: identical)."""

    name: str
    first: str
    second: str
    differences: tuple[str, ...]


def reproduce(bench: Bench, steps: Sequence[Step]) -> list[Reproduction]:
    """Assemble every step again, caches off, under another umask and in another folder, and compare layer by layer."""
    first = {step.name: _obtain(bench, step) for step in steps}
    second: dict[str, Layout] = {}
    with _other_surroundings() as folder:
        for step in steps:
            bench.fetch(step.name, step.files)
            bench.builder.prune()
            log = bench.workspace.run(step.build_id) / "reproduce.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            # A child is built on the rebuilt parent: the whole chain must come out the same.
            parent = second[step.parent.name] if step.parent else None
            second[step.name] = bench.workshop.assemble(step, parent, folder / step.name, log, cached=False)
        made = [_compare(step.name, first[step.name], second[step.name]) for step in steps]
    bench.builder.prune()
    return made


def _obtain(bench: Bench, step: Step) -> Layout:
    return obtain_layout(bench, step, obtain(bench, step).candidate, may_build=True)


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
