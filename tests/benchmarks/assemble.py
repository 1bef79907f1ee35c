"""What assembling cells takes, against installing their wheels into one layer: python -m tests.benchmarks.assemble …

    [CELL …]    in this order; the second shares what layers it can with the first (default: the two engines of cu128)
    --no-idle   leave out a run with nothing to do

Ours starts from an empty store of layers and byte code, the raw `docker buildx build` from an empty cache; inputs are
fetched and slimmed before, and the base image is built. All is measured in one run. Nothing is judged.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts.assemble.assemble import Workshop
from scripts.assemble.types import Step
from scripts.buildkit.build import Build, make_command
from scripts.console import note
from scripts.files import format_size
from scripts.oci.layout import Layout
from scripts.pipeline import Bench, open_bench
from scripts.project import Project
from scripts.report.table import print_table
from tests.benchmarks.common import (
    Peak,
    build_one_layer,
    lay_out_one_layer,
    make_step,
    measured,
    obtain_base,
    open_fresh,
    require_space,
    run_raw,
    share_inputs,
    unpacked_size,
)
from tests.unit.builders import REPOSITORY_ROOT

CELLS = ("vllm-cu128-5090-wheel", "sglang-cu128-5090-wheel")
_SPACE = 8  # times a cell's wheels: BuildKit's copy of them, the layer unpacked and packed, and ours
_HEADER = ("cell", "way", "seconds", "ratio", "size", "unpacked", "layers", "peak of disk", "peak / unpacked")


def main() -> None:
    """Print a row for each way of each cell, what cells share, and what a run with nothing to do takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", default=CELLS, metavar="CELL")
    parser.add_argument("--no-idle", dest="idle", action="store_false")
    options = parser.parse_args()
    bench = open_bench(Project.open(REPOSITORY_ROOT))
    rows, layouts = [], []
    idle: list[str] = []
    with bench.workspace.claim("benchmark") as work:
        workshop = open_fresh(bench, work / "kept")
        for cell in options.cells:
            step = make_step(bench, cell)
            require_space(work, step, _SPACE)
            base = obtain_base(bench, step)
            layout, ours = _assemble(bench, workshop, step, base, work / step.name)
            layouts.append((cell, layout))
            build = lay_out_one_layer(bench, step, base, work / "onelayer")
            one, raw = _build(bench, build, work)
            ratio = f"{ours.seconds / raw.seconds:.2f}"
            rows += [_row(cell, "ours", ours, layout, ratio), _row("", "one layer", raw, one, "")]
            if options.idle and not idle:
                idle = _compare_idle(bench, cell, build)
            shutil.rmtree(work / "onelayer")
            bench.builder.prune()
        print_table(_HEADER, rows)
        for number, (cell, layout) in enumerate(layouts):
            for other, before in layouts[:number]:
                print(_describe_shared(cell, layout, other, before))
        for line in idle:
            print(line)


def _assemble(bench: Bench, workshop: Workshop, step: Step, base: Layout, work: Path) -> tuple[Layout, Peak]:
    share_inputs(bench, workshop, step)
    bench.builder.prune()
    with measured(work) as peak:
        layout = workshop.assemble(step, base, work, work / "build.log")
    note(f"{step.name}: assembled in {peak.seconds:.1f} s")
    return layout, peak


def _build(bench: Bench, build: Build, work: Path) -> tuple[Layout, Peak]:
    bench.builder.prune()
    with measured(work) as peak:
        layout = build_one_layer(bench, build)
    note(f"one layer: built in {peak.seconds:.1f} s")
    return layout, peak


def _row(cell: str, way: str, peak: Peak, layout: Layout, ratio: str) -> list[str]:
    unpacked = unpacked_size(layout)
    return [
        cell,
        way,
        f"{peak.seconds:.1f}",
        ratio,
        format_size(layout.size),
        format_size(unpacked),
        str(len(layout.layers)),
        format_size(peak.size),
        f"{peak.size / unpacked:.2f}",
    ]


def _describe_shared(cell: str, layout: Layout, other: str, before: Layout) -> str:
    known = {layer.digest for layer in before.layers}
    shared = [layer.size for layer in layout.layers if layer.digest in known]
    part = f"{format_size(sum(shared))} of {format_size(layout.size)}"
    return f"{cell} has {len(shared)} of its {len(layout.layers)} layers, {part}, in common with {other}"


def _compare_idle(bench: Bench, cell: str, build: Build) -> list[str]:
    """Nothing to do: the raw command with every step cached, and nothing exported, against a whole `build`."""
    command = [argument for argument in make_command(build) if argument != "--no-cache"]
    command[command.index("--output") + 1] = "type=cacheonly"
    run_raw(bench, command)
    raw = _time(lambda: run_raw(bench, command))
    verb = [sys.executable, "-m", "scripts", "build", cell]

    def run() -> None:
        subprocess.run(verb, cwd=REPOSITORY_ROOT, check=True, stdout=subprocess.DEVNULL)

    run()  # builds it in the checkout, if that was not done yet
    ours = _time(run)
    return [f"nothing to do ({cell}): ours {ours:.2f} s, raw {raw:.2f} s, ratio {ours / raw:.2f}"]


def _time(action: Callable[[], None], rounds: int = 3) -> float:
    """The median of some runs, in seconds."""
    seconds = []
    for _ in range(rounds):
        started = time.monotonic()
        action()
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
