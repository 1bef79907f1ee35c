"""As many of upstream's own tests as are asked for, in a cell's candidate: `nox -s gpu-upstream -- CELL [PATH…]`.

The gate runs a few files of them, which are named with how many must pass. This runs whole folders (by default all of
`kernels`) on a GPU of the cell, or on the CPU for a cell of the CPU, and prints what passed, failed and was skipped by
file. Ends with 0 where nothing failed and something passed. Nothing of it is evidence.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from scripts.command import run_telling
from scripts.console import note
from scripts.matrix import Scenario, UpstreamTest
from scripts.pipeline import Options, Stage, make_jobs, open_bench
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.obtain import load, obtain_suite
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.report.table import print_table
from scripts.smoke.smoke import log_file, open_cache, run_scenario
from scripts.smoke.suite import SuiteFiles

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cell")
    parser.add_argument("paths", nargs="*", default=["kernels"], help="files and folders in the suite's package")
    parser.add_argument("--without", action="append", default=[], help="tests whose names contain this are left out")
    parser.add_argument(
        "--mark", action="append", default=[], help="pytest's, put on all, as skip_global_cleanup of vLLM's"
    )
    parser.add_argument("--log", type=Path, help="where pytest's output goes, which names all that failed")
    parser.add_argument("--minutes", type=int, default=60, help="for all of it (default: %(default)s)")
    options = parser.parse_intermixed_args()  # paths after options, too
    project = Project.open(ROOT)
    plan = make_plan(project.matrix, Selection([options.cell]))
    [job] = make_jobs(project.matrix, plan, project.build_options(), Stage.SMOKE, Options())
    bench = open_bench(project)
    candidate = read_candidate(project.workspace, job.step.build_id)
    if candidate is None:
        raise SystemExit(f"{options.cell} is not here: build it first")
    suite = obtain_suite(bench, job)
    files = find_tests(suite, options.paths)
    if not files:
        raise SystemExit(f"the suite has no tests in {', '.join(options.paths)}")
    without, marks = tuple(options.without), tuple(options.mark)
    tests = tuple(UpstreamTest(file, 1, without, "as asked for", marks) for file in files)
    scenario = Scenario("upstream-all", ("upstream",), options.minutes * 60, 16, tests=tests)
    if options.log:
        options.log.touch()  # that it cannot be written is said before the tests, not after
    note(f"{len(files)} files of tests, for at most {options.minutes} minutes")
    with ExitStack() as stack:
        load(bench, job.step, candidate, may_build=False)
        held = stack.enter_context(bench.hold_gpus(job.cell, candidate.digest, 1)) if job.cell.target.has_gpu else ()
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hallmark-upstream-")))
        image, run = job.planned.image, work / "run"
        stack.enter_context(bench.gate.sharing(open_cache(work)))
        gpu = held[0] if held else None
        evidence = run_scenario(bench.gate, job.cell, image, scenario, candidate.digest, work, run, note, gpu, suite)
        if options.log:
            shutil.copy(log_file(run, scenario.name), options.log)
    found = next((result for result in evidence.results if result.check == "upstream"), None)
    measured = found.measured if found else {}
    counts: dict[str, dict[str, int]] = measured.get("files", {})
    kinds = ("passed", "failed", "skipped")
    print_table(["file", *kinds], [[file, *(str(each[kind]) for kind in kinds)] for file, each in counts.items()])
    for words, number in measured.get("skipped", {}).items():
        print(f"skipped {number}: {words}")
    for failure in measured.get("failures", []):
        print(f"failed: {failure}")
    if not counts:
        print(*(f"{result.check}: {result.detail}" for result in evidence.results), sep="\n")
    passed, failed = (sum(each[kind] for each in counts.values()) for kind in kinds[:2])
    print(f"{passed} passed, {failed} failed, in {evidence.seconds:.0f} s")
    return 0 if passed and not failed else 1


def find_tests(suite: SuiteFiles, paths: Sequence[str]) -> list[str]:
    """The files of tests at these paths of the suite's package, in order."""
    wanted = [PurePosixPath(path) for path in paths]
    with tarfile.open(suite.sdist) as archive:
        parts = [PurePosixPath(member.name).parts[1:] for member in archive if member.isfile()]
    inside = [PurePosixPath(*each[1:]) for each in parts if each[:1] == (suite.folder,) and len(each) > 1]
    found = [path for path in inside if any(path == each or each in path.parents for each in wanted)]
    return sorted(str(path) for path in found if path.name.startswith("test_") and path.suffix == ".py")


if __name__ == "__main__":
    sys.exit(run_telling(main))
