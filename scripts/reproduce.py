"""reproduce: assemble a candidate and all it stands on again, from nothing, and compare it with the first."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.assemble.types import CompileStep, Step
from scripts.console import step as announce
from scripts.files import sha256_file
from scripts.oci.compare import compare_layouts
from scripts.oci.layout import Layout
from scripts.pipeline.bench import Bench
from scripts.pipeline.obtain import complete, obtain, obtain_image, obtain_layout, obtain_wheel


@dataclass(frozen=True)
class Reproduction:
    """An image or compiled wheel made twice: both digests, and the lines that tell the difference (none: identical)."""

    name: str
    first: str
    second: str
    differences: tuple[str, ...]


def reproduce(bench: Bench, steps: Sequence[Step]) -> list[Reproduction]:
    """Make every step again, caches off, under another umask and in another folder, and compare.

    Images are compared layer by layer. A wheel that is compiled here is compiled again, in the environment as it is.
    """
    first = {step.name: _obtain(bench, step) for step in steps}
    steps = [complete(bench, step) for step in steps]
    second: dict[str, Layout] = {}
    with _other_surroundings() as folder:
        wheels = {each.name: each for step in steps for each in step.compiled}
        compiled = [_compile_again(bench, each, folder / each.name) for each in wheels.values()]
        for step in steps:
            bench.fetch(step.name, step.files)
            bench.builder.prune()
            log = bench.workspace.run(step.build_id) / "reproduce.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            # A child is built on the rebuilt parent: the whole chain must come out the same.
            parent = second[step.parent.name] if step.parent else None
            second[step.name] = bench.workshop.assemble(step, parent, folder / step.name, log, cached=False)
        made = compiled + [_compare(step.name, first[step.name], second[step.name]) for step in steps]
    bench.builder.prune()
    return made


def _compile_again(bench: Bench, step: CompileStep, folder: Path) -> Reproduction:
    first = obtain_wheel(bench, step).file.sha256
    environment = obtain_image(bench, step.environment)
    folder.mkdir(parents=True)
    log = bench.workspace.run(step.build_id) / "reproduce.log"
    with announce(step.name, "compile again") as update:
        made = bench.compile(step, environment, folder, log, update, cached=False)
    second = sha256_file(made.path)
    known = bench.cache.path(first)
    return Reproduction(step.name, first, second, tuple(_compare_wheels(known, made.path)) if first != second else ())


def _compare_wheels(first: Path, second: Path) -> list[str]:
    """The members in which two wheels differ; the archives themselves where none does."""
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        names = sorted({*one.namelist(), *other.namelist()})
        found = [name for name in names if _crc(one, name) != _crc(other, name)]
    return found or ["the archive, and no member of it"]


def _crc(archive: zipfile.ZipFile, name: str) -> int | None:
    return archive.getinfo(name).CRC if name in archive.namelist() else None


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
