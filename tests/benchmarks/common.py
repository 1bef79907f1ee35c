"""What the benchmarks share: cells to assemble, the one-layer way of building them, and looking after the disk."""

from __future__ import annotations

import contextlib
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from scripts.assemble.assemble import Workshop
from scripts.assemble.steps import make_steps
from scripts.assemble.types import Step
from scripts.buildkit.build import Build, make_command
from scripts.errors import BuildFailed, Undecided
from scripts.fetch import Cache, fetch_files
from scripts.files import CHUNK, format_size, free_bytes, link_or_copy
from scripts.lock import read_slot, tools_slot
from scripts.oci.decompress import Plain
from scripts.oci.layout import Layout
from scripts.pipeline import Bench
from scripts.pipeline.obtain import obtain, obtain_layout
from scripts.plan import Selection, make_plan, require_buildable
from scripts.slim.wheel.cached import slim_files

ONE_LAYER = Path(__file__).with_name("onelayer")
_SAMPLE_S = 0.5


def make_step(bench: Bench, cell: str) -> Step:
    """The step of a cell, with its wheels fetched and slimmed already: its `wheels` are those that are installed."""
    plan = make_plan(bench.project.matrix, Selection([cell]))
    require_buildable(plan)
    step = make_steps(bench.project.matrix, plan, bench.project.build_options())[-1]
    bench.fetch(step.name, step.files)
    if not step.slim:
        return step
    slimmed = slim_files(step.files, step.slim, bench.cache, lambda _: None)
    return replace(step, files=tuple(file.used for file in slimmed), slim="")


def obtain_base(bench: Bench, step: Step) -> Layout:
    """What a step stands on, built if need be."""
    assert step.parent
    return obtain_layout(bench, step.parent, obtain(bench, step.parent).candidate, may_build=True)


def open_fresh(bench: Bench, folder: Path) -> Workshop:
    """A workshop with a cache of its own, which holds nothing yet: no layer, no byte code."""
    return replace(bench.workshop, cache=Cache(folder))


def share_inputs(bench: Bench, workshop: Workshop, step: Step) -> None:
    """Give a fresh workshop the inputs of a step, as a second name of what is in the real cache."""
    for file in step.files:
        link_or_copy(bench.cache.path(file.sha256), workshop.cache.path(file.sha256))


def require_space(folder: Path, step: Step, factor: float) -> None:
    """Raise Undecided where less is free than `factor` times what the step's wheels unpack to."""
    needed = factor * sum(file.size for file in step.wheels)
    if (free := free_bytes(folder)) < needed:
        cause = f"{format_size(free)} are free, and this can take {format_size(needed)}"
        raise Undecided(cause, str(folder), "free some space, or name a smaller cell")


def lay_out_one_layer(bench: Bench, step: Step, parent: Layout, folder: Path) -> Build:
    """The contexts of the one-layer way under a folder, and the build of its image into `folder/layout`."""
    context, inputs, tools = (folder / name for name in ("context", "inputs", "tools"))
    for path in (context, inputs, tools):
        path.mkdir(parents=True)
    shutil.copyfile(ONE_LAYER / "Dockerfile", context / "Dockerfile")
    for file in step.wheels:
        link_or_copy(bench.cache.path(file.sha256), inputs / file.file)
    pins = (f"{file.name}=={file.version} --hash=sha256:{file.sha256}\n" for file in step.wheels)
    (inputs / "requirements.txt").write_text("".join(pins))
    shutil.copyfile(ONE_LAYER / "install-wheels", tools / "install-wheels")
    (tools / "install-wheels").chmod(0o755)
    project = bench.project
    wheels = [file for file in read_slot(project.matrix.root, tools_slot(project.matrix)).files if file.kind == "wheel"]
    cache = fetch_files(wheels, project.site, project.matrix.platform)
    for wheel in wheels:
        _extract_programs(cache.path(wheel.sha256), tools)
    return Build(
        context=context,
        contexts={
            "parent": f"oci-layout://{parent.folder}@{parent.digest}",
            "inputs": str(inputs),
            "tools": str(tools),
        },
        arguments={"SOURCE_DATE_EPOCH": str(step.epoch)},
        labels=step.all_labels,
        destination=folder / "layout",
        compression=step.compression,
        cached=False,
    )


def run_raw(bench: Bench, command: list[str]) -> None:
    """One raw `docker buildx` command. Raises BuildFailed with the end of what it printed."""
    lines: list[str] = []
    if code := bench.builder.run(command, lines.append):
        raise BuildFailed(f"docker buildx ended with {code}:\n" + "\n".join(lines[-20:]), bench.builder.where)


def build_one_layer(bench: Bench, build: Build) -> Layout:
    """Build the one-layer image; its bytes are not hashed."""
    run_raw(bench, make_command(build))
    return Layout.open(build.destination)


def unpacked_size(layout: Layout) -> int:
    """Bytes of an image's layers once decompressed."""
    total = 0
    for layer in layout.layers:
        with layout.blob_path(layer.digest).open("rb") as stream:
            plain = Plain(stream)
            while data := plain.read(CHUNK):
                total += len(data)
    return total


class Peak:
    """How much less of a file system was free during a block than before it, in bytes. Others' writing counts, too."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stop = folder, Event()
        self._before = self._least = free_bytes(folder)
        self.seconds = 0.0

    @property
    def size(self) -> int:
        return self._before - self._least

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        self._least = min(self._least, free_bytes(self._folder))


@contextlib.contextmanager
def measured(folder: Path) -> Iterator[Peak]:
    """Measure a block: the seconds that it takes, and the peak of the disk that holds `folder`."""
    peak = Peak(folder)
    thread = Thread(target=peak._watch, daemon=True)
    thread.start()
    started = time.monotonic()
    try:
        yield peak
    finally:
        peak.seconds = time.monotonic() - started
        peak._stop.set()
        thread.join()
        peak._sample()


def _extract_programs(wheel: Path, folder: Path) -> None:
    """The programs that a wheel would install: uv's is one static binary, so it runs in any image."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if ".data/scripts/" in member.filename and not member.is_dir():
                path = folder / Path(member.filename).name
                path.write_bytes(archive.read(member))
                path.chmod(0o755)
