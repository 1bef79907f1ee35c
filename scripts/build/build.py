"""build: a step becomes a verified OCI layout, unless one with the same build id is there already."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.build.inputs import Inputs, estimate_unpacked, lay_out
from scripts.build.layout import Layout
from scripts.build.steps import Step, make_arguments, make_labels
from scripts.buildkit.build import Build, run_build
from scripts.buildkit.builder import Builder
from scripts.console import Update
from scripts.console import step as announce
from scripts.errors import BuildFailed, Undecided
from scripts.fetch import Cache
from scripts.files import format_size, free_bytes, write_json
from scripts.workspace import Workspace

# An image is there unpacked twice (BuildKit's and the engine's) and compressed twice (its layout and the engine's).
DISK_FACTOR = 3


@dataclass(frozen=True)
class Candidate:
    """A built image: the step's name, its digest, compressed size in bytes, and the seconds its build took."""

    name: str
    build_id: str
    digest: str
    size: int
    seconds: float


def find_candidate(workspace: Workspace, build_id: str) -> Candidate | None:
    """What an earlier run built under this id, or None."""
    try:
        return Candidate(**json.loads((workspace.run(build_id) / "build.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def find_layout(workspace: Workspace, build_id: str) -> Layout | None:
    """The layout of an earlier build that was recorded; None when it is damaged, or `clean` has removed it."""
    folder = workspace.layout(build_id)
    if not folder.is_dir() or not find_candidate(workspace, build_id):
        return None
    try:
        layout = Layout.open(folder)
    except BuildFailed:
        return None
    return layout if layout.has_all_bytes() else None


def build_step(step: Step, builder: Builder, cache: Cache, workspace: Workspace) -> Layout:
    """Build a step whose parent is built; what is there already is not built again. Raises BuildFailed, Undecided."""
    if layout := find_layout(workspace, step.build_id):
        return layout
    started = time.monotonic()
    run = workspace.run(step.build_id)
    run.mkdir(parents=True, exist_ok=True)
    work = workspace.work / step.build_id[:12]
    with announce(step.name, "build") as update:
        parent = find_layout(workspace, step.parent.build_id) if step.parent else None
        made = export(step, builder, cache, work, parent, run / "build.log", update)
        destination = workspace.layout(step.build_id)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(destination, ignore_errors=True)  # one whose record was lost
        made.folder.rename(destination)
        shutil.rmtree(work)
        layout = Layout(destination, made.manifest)
        seconds = round(time.monotonic() - started, 1)
        write_json(run / "build.json", asdict(Candidate(step.name, step.build_id, layout.digest, layout.size, seconds)))
    return layout


def export(
    step: Step,
    builder: Builder,
    cache: Cache,
    work: Path,
    parent: Layout | None,
    log: Path,
    update: Update,
    *,
    cached: bool = True,
) -> Layout:
    """Build into `work` and believe nothing of what comes out before every blob was hashed."""
    shutil.rmtree(work, ignore_errors=True)
    _check_disk(step, builder, cache, work)
    update("laying out the inputs")
    inputs = lay_out(step, cache, work)
    build = make_build(step, inputs, parent, work / "layout", cached=cached)
    run_build(builder, build, log, update)
    update("hashing the result")
    layout = Layout.open(build.destination)
    layout.verify()
    return layout


def make_build(step: Step, inputs: Inputs, parent: Layout | None, destination: Path, *, cached: bool) -> Build:
    """A step as BuildKit gets it. Nothing in it depends on the checkout but the paths."""
    contexts = {"inputs": str(inputs.inputs), "tools": str(inputs.tools)}
    if parent:
        contexts["parent"] = f"oci-layout://{parent.folder}@{parent.digest}"
    labels = make_labels(step, parent.digest if parent else "")
    return Build(inputs.context, contexts, make_arguments(step), labels, destination, step.compression, cached)


def _check_disk(step: Step, builder: Builder, cache: Cache, work: Path) -> None:
    """Raise Undecided before the build starts where the disk could not hold its results."""
    needed = DISK_FACTOR * estimate_unpacked(step, cache)
    for place in {work, builder.disk}:
        if free_bytes(place) < 2 * needed:  # what earlier builds left behind is of little use to this one
            builder.prune()
        if (free := free_bytes(place)) < needed:
            raise Undecided(
                f"building and storing {step.name} can take {format_size(needed)}; {format_size(free)} are free",
                str(place),
                "free some space (`nox -s clean` removes what no tag needs)",
            )
