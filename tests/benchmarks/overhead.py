"""What this program costs over the raw docker command: python -m tests.benchmarks.overhead [--rounds N] [CELL …]

Both are measured in turn, in one run and on one engine, and compared as ratios: machines are noisy. Nothing is judged.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.build.build import export, make_build
from scripts.build.inputs import Inputs, lay_out
from scripts.build.layout import Layout
from scripts.build.steps import Step, make_steps
from scripts.buildkit.build import make_command
from scripts.buildkit.builder import EngineBuilder
from scripts.engine import Engine
from scripts.fetch import fetch_files
from scripts.pipeline import Builder
from scripts.plan import Selection, make_plan
from scripts.project import Project, open_engine

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Print a table of medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", nargs="*", default=["*-cpu"])
    parser.add_argument("--rounds", type=int, default=3, help="counted pairs of each comparison (default 3)")
    parser.add_argument("--no-builds", dest="builds", action="store_false", help="only a run with nothing to do")
    options = parser.parse_args()
    project = Project.open(ROOT)
    plan = make_plan(project.matrix, Selection(options.cells))
    steps = make_steps(project.matrix, plan)
    subprocess.run([sys.executable, "-m", "scripts", "publish", *options.cells], cwd=ROOT, check=True)
    engine = open_engine(project)
    header = ("what", "raw docker buildx build", "this program", "ratio (median, min–max)")
    table = Table(*header, box=None, pad_edge=False)
    # Not in the workspace: a `publish` begins by emptying what others left half-way there.
    with tempfile.TemporaryDirectory(prefix="hallmark-benchmark-", dir="/var/tmp") as folder:
        bench = Bench(project, engine, Path(folder))
        table.add_row(*bench.compare_idle(options.cells, steps, options.rounds))
        for step in steps if options.builds else ():
            table.add_row(*bench.compare_build(step, options.rounds))
    engine.prune_build_cache()
    Console(highlight=False, width=160).print(table)


class Bench:
    """The two sides of each comparison, on the same contexts and the same engine."""

    def __init__(self, project: Project, engine: Engine, folder: Path) -> None:
        self.project, self.engine, self.folder = project, engine, folder
        self.buildkit = EngineBuilder(engine, project.site.builder)

    def compare_build(self, step: Step, rounds: int) -> list[str]:
        """A build with no cache: the raw command with its contexts laid out, against all that `build` does."""
        cache = fetch_files(step.inputs, self.project.site, self.project.matrix.platform)
        parent = Builder(self.project, self.engine).build(step.parent) if step.parent else None
        inputs = lay_out(step, cache, self._fresh("raw"))
        log = self.folder / "build.log"

        def raw() -> None:
            self._raw(make_command(make_build(step, inputs, parent, self._fresh("layout"), cached=False)))

        def ours() -> None:
            export(step, self.buildkit, cache, self._fresh("ours"), parent, log, lambda _: None, cached=False)

        return _compare(f"{step.name}: build, no cache", raw, ours, rounds)

    def compare_idle(self, cells: list[str], steps: list[Step], rounds: int) -> list[str]:
        """Nothing to do: the raw commands with every step cached, and nothing exported, against a whole `publish`."""
        commands: list[list[str]] = []
        for step in steps:
            cache = fetch_files(step.inputs, self.project.site, self.project.matrix.platform)
            parent = Builder(self.project, self.engine).build(step.parent) if step.parent else None
            inputs = lay_out(step, cache, self.folder / "cached" / step.name)
            commands.append(self._cached_command(step, inputs, parent))

        def raw() -> None:
            for command in commands:
                self._raw(command)

        def ours() -> None:
            command = [sys.executable, "-m", "scripts", "publish", *cells]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

        ours_cost = _time(ours, rounds)
        raw()  # fills the build cache, which `publish` empties when it ends
        raw_cost = _time(raw, rounds)
        name = f"{', '.join(cells)}: nothing to do"
        return [name, f"{raw_cost:.2f} s", f"{ours_cost:.2f} s", f"{ours_cost / raw_cost:.2f}"]

    def _cached_command(self, step: Step, inputs: Inputs, parent: Layout | None) -> list[str]:
        command = make_command(make_build(step, inputs, parent, self.folder / "unused", cached=True))
        command[command.index("--output") + 1] = "type=cacheonly"
        return command

    def _raw(self, command: list[str]) -> None:
        if code := self.buildkit.run(command, lambda _: None):
            raise RuntimeError(f"docker buildx {' '.join(command)} ended with exit code {code}")

    def _fresh(self, name: str) -> Path:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name


def _compare(name: str, raw: Callable[[], None], ours: Callable[[], None], rounds: int) -> list[str]:
    """Run the two in turn; the first pair is not counted, and every other pair begins with the other one."""
    raw_s: list[float] = []
    ours_s: list[float] = []
    for number in range(rounds + 1):
        pair = [(raw, raw_s), (ours, ours_s)]
        for action, seconds in pair if number % 2 else reversed(pair):
            started = time.monotonic()
            action()
            seconds.append(time.monotonic() - started)
    ratios = [ours / raw for raw, ours in zip(raw_s[1:], ours_s[1:], strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    return [name, f"{statistics.median(raw_s[1:]):.1f} s", f"{statistics.median(ours_s[1:]):.1f} s", spread]


def _time(action: Callable[[], None], rounds: int) -> float:
    """The median of some runs, in seconds."""
    seconds = []
    for _ in range(rounds):
        started = time.monotonic()
        action()
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
