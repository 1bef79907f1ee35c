"""Proof on a real GPU that the gate rejects what is wrong: `nox -s gpu-faults -- CELL`, after `publish` had the image.

One fault at a time is planted: into the model, into what the scenario asks for, or into the image. The scenario that is
for it has to fail, by the check that is for it, in words that are about it. As many faults are tried side by side as
there are GPUs, and none is begun once the time is over. Prints a table, and ends with 0 only if each was found.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from scripts.command import run_telling
from scripts.compare import run as comparing
from scripts.engine import Engine
from scripts.engines import open_engine
from scripts.matrix import Scenario
from scripts.model import Result
from scripts.pipeline.abreast import run_abreast
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.job import Job, Options, Stage, make_jobs
from scripts.pipeline.judge import recall_scenarios
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.smoke.gpu import Gpu, find_gpus, hold_targets
from scripts.smoke.smoke import lay_out, make_environment, open_cache
from scripts.smoke.trial import GIB
from scripts.smoke.watch import run_watched
from tests.gpu.derive import derived_image
from tests.gpu.planting import SITE, Read, age_bindings, double_scale, flip_sign, spoil_library, spoil_server

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 300  # characters of what a check said that the table shows
MODELS = "models"  # the part of a comparison with several models, which is no scenario of the gate


@dataclass(frozen=True)
class Fault:
    """What is wrong, in which scenario of which images, by which of its checks that has to show, and in which words.

    `model` changes the model's folder; `arguments` are added to the scenario's; `files` gives files of the image that
    are others, for a compute capability. `checks` are all that is asked, where a fault needs no more of its scenario.
    `words` is a pattern.
    """

    name: str
    images: tuple[str, ...]
    scenario: str
    check: str
    words: str
    model: Callable[[Path], None] | None = None
    arguments: tuple[str, ...] = ()
    files: Callable[[Read, str], Mapping[str, bytes]] | None = None
    checks: tuple[str, ...] = ()


BOTH = ("vllm", "sglang")
FAULTS = (
    Fault("one weight's sign flipped", BOTH, "eager", "logprobs", "likeliest|values differ", model=flip_sign),
    Fault("one FP8 scale doubled", BOTH, "fp8-block", "logprobs", "likeliest|values differ", model=double_scale),
    Fault("a fallback kernel", ("vllm",), "fp8", "kernels", "[Mm]arlin", arguments=("--linear-backend", "marlin")),
    Fault(
        "a cache that is never hit",
        ("sglang",),
        "serve",
        "radix-cache",
        "^0 of .* were cached",
        arguments=("--disable-radix-cache",),
    ),
    Fault(
        "a library for another GPU",
        ("vllm",),
        "eager",
        "health",
        "no kernel image is available",
        files=partial(spoil_library, path=f"{SITE}/vllm/_C_stable_libtorch.abi3.so"),
    ),
    Fault(
        "a server that dies at its 50th request",
        BOTH,
        "load",
        "load",
        "the server has ended with exit code",
        files=partial(spoil_server, fault="dying"),
        checks=("health", "load"),
    ),
    Fault(
        "a server that answers empty under load",
        BOTH,
        "load",
        "load",
        "0 tokens were answered, not 16",
        files=partial(spoil_server, fault="empty"),
        checks=("health", "load"),
    ),
    Fault(
        "cuda-python 12.6 over cuda-bindings 13",
        BOTH,
        "eager",
        "health",
        "'cuda.bindings.runtime' has no attribute 'cudaLibrary_t'",
        files=age_bindings,
    ),
    Fault("three models that do not fit at once", BOTH, MODELS, "serve", "GiB are wanted, and .* are free"),
)


@dataclass(frozen=True)
class Place:
    """Where faults are tried: the cell's candidate, as it is, and the moment at which the time is over."""

    engine: Engine
    job: Job
    digest: str
    work: Path
    passed: frozenset[str]
    deadline: float


@dataclass(frozen=True)
class Tried:
    """What came of a fault: what its check said, and which checks failed."""

    fault: Fault
    found: bool
    said: str
    failed: tuple[str, ...] = ()
    seconds: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cell")
    parser.add_argument("--gpu", help="the index of the one to use (default: all that are free)")
    parser.add_argument("--only", default="", help="the faults whose names contain one of these, with commas between")
    parser.add_argument("--minutes", type=float, default=60, help="for all of it (default: %(default)s)")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    project = Project.open(ROOT)
    plan = make_plan(project.matrix, Selection([options.cell]))
    [job] = make_jobs(project.matrix, plan, project.build_options(), Stage.SMOKE, Options())
    faults = choose_faults(job.cell.image, options.only)
    if not faults:
        raise SystemExit(f"there is no such fault; there are: {', '.join(each.name for each in FAULTS)}")
    candidate = read_candidate(project.workspace, job.step.build_id)
    if candidate is None:
        raise SystemExit(f"{options.cell} is not here: `nox -s verify-…` first")
    engine = open_engine(project)
    known = recall_scenarios(project.workspace, job, candidate.digest)
    passed = frozenset(name for name, evidence in known.items() if evidence.passed)

    def look() -> list[Gpu]:
        return [gpu for gpu in find_gpus() if options.gpu in (None, gpu.index)]

    with ExitStack() as stack:
        gpus = stack.enter_context(hold_targets(job.cell, look, project.site.cache / "locks", len(faults)))
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hallmark-faults-")))
        place = Place(engine, job, candidate.digest, work, passed, deadline)
        free: SimpleQueue[Gpu] = SimpleQueue()
        for gpu in gpus:
            free.put(gpu)
        tried = run_abreast(partial(try_on_one, place, free), faults, len(gpus), engine.end_containers)
    print(render(tried))
    return 0 if all(each.found for each in tried) else 1


def choose_faults(image: str, only: str) -> list[Fault]:
    """The faults that an image can have, of those whose names contain one of the words."""
    words = only.split(",")
    return [fault for fault in FAULTS if image in fault.images and any(word.strip() in fault.name for word in words)]


def try_on_one(place: Place, free: SimpleQueue[Gpu], fault: Fault) -> Tried:
    """Try a fault on one of the free GPUs, and say at once what came of it."""
    gpu = free.get()
    try:
        tried = try_fault(place, fault, gpu)
    finally:
        free.put(gpu)
    outcome = "found" if tried.found else "NOT FOUND"
    print(
        f"{fault.name}: {outcome} by {fault.check} in {tried.seconds:.0f} s; failed: {list(tried.failed)}", flush=True
    )
    return tried


def try_fault(place: Place, fault: Fault, gpu: Gpu) -> Tried:
    """What comes of the scenario with the fault in it."""
    left = int(place.deadline - time.monotonic())
    if left <= 0:
        return Tried(fault, False, "not tried: the time is over")
    if fault.scenario != MODELS and fault.scenario not in place.passed:
        return Tried(fault, False, f"not tried: `{fault.scenario}` has not passed without it")
    started = time.monotonic()
    results = ask_models(place, gpu, left) if fault.scenario == MODELS else ask_scenario(place, fault, gpu, left)
    return judge(fault, results, time.monotonic() - started)


def ask_scenario(place: Place, fault: Fault, gpu: Gpu, left: int) -> Sequence[Result]:
    """The results of the gate's scenario, of a model or an image with the fault."""
    [known] = [each for each in place.job.scenarios if each.name == fault.scenario]
    scenario = alter(known, fault, left)
    cell, work = place.job.cell, place.work / gpu.index
    folder = work / scenario.name
    lay_out(place.job.planned.image, scenario, folder)
    if fault.model:
        fault.model(folder / "model")
    with ExitStack() as stack:
        digest = place.digest
        if fault.files:
            plant, compute = fault.files, cell.target.compute
            digest = stack.enter_context(derived_image(place.engine, digest, lambda read: plant(read, compute)))
        environment = make_environment(cell, scenario)
        return run_watched(place.engine, digest, folder, scenario, environment, gpu, open_cache(work)).results


def alter(scenario: Scenario, fault: Fault, left: int) -> Scenario:
    """The scenario as it is asked of a fault, within the seconds that are left."""
    return replace(
        scenario,
        arguments=(*scenario.arguments, *fault.arguments),
        checks=fault.checks or scenario.checks,
        timeout_s=min(scenario.timeout_s, left),
    )


def ask_models(place: Place, gpu: Gpu, left: int) -> Sequence[Result]:
    """The start of a comparison's three models, which are promised twice the memory that the card has."""
    subject = comparing.Subject(place.job, 2 * gpu.memory // GIB or 2 * place.job.cell.target.memory)
    scenario = subject.scenario(MODELS)
    scenario = replace(scenario, checks=("serve",), timeout_s=min(scenario.timeout_s, left))
    work = place.work / gpu.index
    folder = work / MODELS
    comparing.lay_out(scenario, subject, folder, lambda text: None)
    environment = make_environment(place.job.cell, scenario) | {"HALLMARK_RUNS": "1"}
    run = partial(run_watched, place.engine, place.digest, folder, scenario, environment, gpu)
    return run(open_cache(work), comparing.SCRIPT).results


def judge(fault: Fault, results: Sequence[Result], seconds: float = 0.0) -> Tried:
    """Whether the check that is for a fault has failed, in words that are about the fault."""
    failed = tuple(result.check for result in results if not result.passed)
    said = next((result.detail for result in results if result.check == fault.check), "it did not report")
    words = re.search(fault.words, said)
    # Of a long report the part that is about the fault: a server's words stand far from the beginning.
    start = max(0, words.start() - LONGEST // 2) if words and words.end() > LONGEST else 0
    return Tried(
        fault, fault.check in failed and bool(words), " ".join(said[start:].split())[:LONGEST], failed, seconds
    )


def render(tried: Sequence[Tried]) -> str:
    """The table, in Markdown."""
    rows = [
        f"| {each.fault.name} | `{each.fault.scenario}` | {f'`{each.fault.check}`' if each.found else '**nothing**'} "
        f"| {each.said.replace('|', '/')} | {each.seconds:.0f} s |"
        for each in tried
    ]
    return "\n".join(["\n| Fault | Scenario | Found by | What it said | Time |\n|---|---|---|---|---|", *rows])


if __name__ == "__main__":
    sys.exit(run_telling(main))
