"""A candidate and its bytes, from wherever they are: the disk, the engine, the registry, and else they are built."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.assemble.types import CompileStep, Step
from scripts.compile.kept import CompiledWheel, add_wheels, find_compiled, keep_compiled
from scripts.console import step as announce
from scripts.engine.images import export_layout, has_image, load_layout
from scripts.errors import BuildFailed, Undecided
from scripts.lock import read_slot, suite_slot
from scripts.oci.layout import Layout
from scripts.pipeline.abreast import run_abreast
from scripts.pipeline.bench import Bench
from scripts.pipeline.candidate import Candidate, keep_image, read_candidate, write_candidate
from scripts.pipeline.job import Job
from scripts.publish.stamp import name_repository
from scripts.registry.pull import pull_layout
from scripts.smoke.suite import SuiteFiles


@dataclass(frozen=True)
class Obtained:
    """A candidate, and how this run came to it: `unchanged`, `built in 45 s`, `taken from …`."""

    candidate: Candidate
    how: str


def obtain(bench: Bench, step: Step) -> Obtained:
    """This checkout's own candidate: what is known and still somewhere is not built again.

    Somewhere is the disk, the engine or the registry. Raises BuildFailed, Undecided, ConfigError.
    """
    with bench.workspace.claim(step.build_id) as work:
        known = read_candidate(bench.workspace, step.build_id)
        if known and (
            find_layout(bench, step.build_id, known.digest)
            or has_image(bench.gate, known.digest)
            or _is_in_registry(bench, step, known.digest)
        ):
            return Obtained(known, "unchanged")
        made = _build(bench, step, work)
    return Obtained(made, f"built in {made.seconds:.0f} s")


def obtain_layout(bench: Bench, step: Step, candidate: Candidate, *, may_build: bool) -> Layout:
    """The bytes of a known candidate: from the disk, the engine, the registry, and else by building it again.

    Raises Undecided where they are nowhere and may not be built, or where a build comes to another digest.
    """
    digest, build_id = candidate.digest, candidate.build_id
    with bench.workspace.claim(build_id) as work:
        if layout := find_layout(bench, build_id, digest):
            return layout
        if layout := bring(bench, step, digest, work / "layout"):
            return keep_layout(bench, layout, build_id)
        if not may_build:
            cause = f"{digest} is neither on this disk, nor in the engine or the registry"
            raise Undecided(cause, step.name, f"nox -s build -- {step.name}")
        made = _build(bench, step, work)
        if made.digest != digest:  # `clean` took the layout, and a builder of another version made it anew
            cause = f"the image was rebuilt as {made.digest}, but {digest} is what was audited or tested"
            raise Undecided(cause, step.name, "run the same command again: it tests the new one")
        return Layout.open(bench.workspace.layout(build_id))


def load(bench: Bench, step: Step, candidate: Candidate, *, may_build: bool) -> None:
    """Have the candidate in the engine, where it is tested and tagged."""
    if has_image(bench.gate, candidate.digest):
        return
    layout = obtain_layout(bench, step, candidate, may_build=may_build)
    with announce(step.name, f"load at {bench.remote.host}" if bench.remote else "load"):
        bench.builder.prune()  # before the image is unpacked there, what its build left behind can go
        load_layout(bench.gate, layout.folder, candidate.digest)


def obtain_suite(bench: Bench, job: Job) -> SuiteFiles:
    """Upstream's tests for a job's cell, as locked, in the cache. Raises Undecided where they are not to be had."""
    matrix, cell = bench.project.matrix, job.cell
    key = (cell.recipe, cell.line)
    suite = job.planned.image.recipes[key].suite
    assert suite, "make_jobs has seen to it"
    files = read_slot(matrix.root, suite_slot(matrix, job.planned.image, key)).files
    bench.fetch(f"{job.step.name} suite", files)
    sdist, *wheels = (bench.cache.path(file.sha256) for file in files)
    return SuiteFiles(sdist, suite.folder, tuple(wheels))


def find_layout(bench: Bench, build_id: str, digest: str) -> Layout | None:
    """The layout of a build on this disk; None where it is damaged, of another digest, or was removed by `clean`."""
    try:
        layout = Layout.open(bench.workspace.layout(build_id))
    except BuildFailed:
        return None
    return layout if layout.digest == digest and layout.has_all_bytes() else None


def bring(bench: Bench, step: Step, digest: str, folder: Path) -> Layout | None:
    """An image from the engine, or else from the site's registry, as a new layout; None where neither has it."""
    if has_image(bench.gate, digest):
        with announce(step.name, "export") as update:
            return export_layout(bench.gate, digest, folder, update)
    if _is_in_registry(bench, step, digest):
        with announce(step.name, "pull") as update:
            repository = name_repository(bench.project.site.registry, step.image.name)
            return pull_layout(bench.open_registry(), repository, digest, folder, update)
    return None


def keep_layout(bench: Bench, layout: Layout, build_id: str) -> Layout:
    """Move a layout that is complete and verified to its place, over what is there."""
    destination = bench.workspace.layout(build_id)
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(destination, ignore_errors=True)  # a damaged one, or another digest's
    layout.folder.rename(destination)
    return Layout(destination, layout.manifest)


def complete(bench: Bench, step: Step) -> Step:
    """The step with its compiled wheels among its files: those that nobody has made are made, one on each builder."""
    at_a_time = len(bench.project.site.builders)
    made = run_abreast(partial(obtain_wheel, bench), step.compiled, at_a_time, bench.builder.stop)
    return add_wheels(step, [wheel.file for wheel in made])


def obtain_wheel(bench: Bench, step: CompileStep) -> CompiledWheel:
    """A compile step's wheel. Whoever else wants the same one waits here, and then finds it made.

    Raises BuildFailed, Undecided, ConfigError.
    """
    if known := find_compiled(bench.cache, step.build_id):
        return known
    with bench.workspace.claim(step.build_id) as work:
        if known := find_compiled(bench.cache, step.build_id):
            return known
        environment = obtain_image(bench, step.environment)
        bench.fetch_sources([step])
        log = bench.workspace.run(step.build_id) / "compile.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with announce(step.name, "compile") as update:
            made = bench.compile(step, environment, work, log, update)
        seconds = round(time.monotonic() - started, 1)
        name = step.component.distribution
        return keep_compiled(bench.cache, step.build_id, made.path, name, made.version, seconds)


def _build(bench: Bench, step: Step, work: Path) -> Candidate:
    """Assemble a step, after those that it stands on. The caller holds the step's build id."""
    parent = obtain_image(bench, step.parent) if step.parent else None
    step = complete(bench, step)
    started = time.monotonic()
    bench.fetch(step.name, step.files)
    run = bench.workspace.run(step.build_id)
    run.mkdir(parents=True, exist_ok=True)
    made = bench.workshop.assemble(step, parent, work, run / "build.log")
    layout = keep_layout(bench, made, step.build_id)
    seconds = round(time.monotonic() - started, 1)
    candidate = Candidate(step.name, step.build_id, layout.digest, layout.size, seconds)
    keep_image(bench.workspace, step.build_id, layout)
    write_candidate(bench.workspace, candidate)
    return candidate


def obtain_image(bench: Bench, step: Step) -> Layout:
    """The image that another stands on or is compiled in: as it lies on this disk, and else built."""
    with bench.workspace.claim(step.build_id) as work:
        known = read_candidate(bench.workspace, step.build_id)
        if known and (layout := find_layout(bench, step.build_id, known.digest)):
            return layout
        _build(bench, step, work)
        return Layout.open(bench.workspace.layout(step.build_id))


def _is_in_registry(bench: Bench, step: Step, digest: str) -> bool:
    if not bench.project.site.registry:
        return False
    repository = name_repository(bench.project.site.registry, step.image.name)
    return bench.open_registry().get_manifest(repository, digest) is not None
