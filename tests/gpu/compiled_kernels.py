"""Proof on a real GPU that what is compiled for it computes the right numbers.

`nox -s gpu-kernels -- CELL [COMPONENT…]`: each component of the cell's recipe that has checks in `compiled/`, or each
that is named, is compiled, if it has not been yet, and its wheel is run in the image that it was compiled in, with the
GPU and without a network. Ends with 0 only if all checks passed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.assemble.steps import make_steps
from scripts.assemble.types import CompileStep
from scripts.command import run_telling
from scripts.engine.images import load_layout
from scripts.matrix import Scenario
from scripts.model import BuildOptions, Outcome, Result
from scripts.pipeline import Bench, open_bench
from scripts.pipeline.obtain import obtain_image, obtain_wheel
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.smoke.gpu import Gpu, find_gpus, request_device
from scripts.smoke.trial import run_trial

ROOT = Path(__file__).resolve().parents[2]
CHECKS = Path(__file__).with_name("compiled")
SCENARIO = Scenario("kernels", ("kernels",), timeout_s=600, memory_gib=16)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cell", help="a cell whose recipe compiles, as `nox -s plan` names it, for this kind of GPU")
    parser.add_argument("component", nargs="*", help="such as vllm-0.29.0")
    options = parser.parse_args()
    project = Project.open(ROOT)
    planned = make_plan(project.matrix, Selection((options.cell,)))
    bench, step = open_bench(project), make_steps(project.matrix, planned, BuildOptions())[-1]
    compute = planned[0].cell.target.compute
    gpu = next((gpu for gpu in find_gpus() if gpu.compute == compute), None)
    if gpu is None:
        raise SystemExit(f"this machine has no GPU of compute capability {compute}")
    print(gpu)
    results: list[Result] = []
    for each in step.compiled:
        if _checks(each).exists() and each.component.id in (options.component or [each.component.id]):
            found = run(bench, each, gpu)
            print(*(f"{each.component.id}  {one.check:20}{one.outcome:8}{one.detail}" for one in found), sep="\n")
            results += found
    if not results:
        raise SystemExit(f"no component of {options.cell} that was asked for has checks in {CHECKS.relative_to(ROOT)}")
    return 0 if all(result.outcome is Outcome.PASSED for result in results) else 1


def run(bench: Bench, step: CompileStep, gpu: Gpu) -> tuple[Result, ...]:
    """The results of a step's wheel on a GPU."""
    wheel = obtain_wheel(bench, step).file
    environment = obtain_image(bench, step.environment)
    load_layout(bench.engine, environment.folder, environment.digest)
    with TemporaryDirectory(prefix="hallmark-kernels-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the container's user is another
        shutil.copyfile(CHECKS / "smoke.py", folder / "smoke.py")
        shutil.copyfile(_checks(step), folder / "checks.py")
        shutil.copyfile(bench.cache.path(wheel.sha256), folder / wheel.file)
        trial = run_trial(bench.engine, environment.digest, folder, SCENARIO, {}, [request_device(bench.engine, gpu)])
    if any(result.outcome is not Outcome.PASSED for result in trial.results):
        print(trial.log)
    return trial.results


def _checks(step: CompileStep) -> Path:
    return CHECKS / f"{step.component.distribution.partition('-')[0]}.py"


if __name__ == "__main__":
    sys.exit(run_telling(main))
