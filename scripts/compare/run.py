"""Engines taken through the parts of a comparison: what there is evidence of already is not measured again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.compare.asked import find_gap, make_part
from scripts.compare.engines import ENGINES, ServingEngine
from scripts.compare.figures import add_runs, count_runs
from scripts.compare.models import MODELS
from scripts.compare.parts import ONE_BY_ONE, RUNS
from scripts.console import Update
from scripts.console import step as announce
from scripts.errors import HallmarkError, Problem, Undecided
from scripts.matrix import Scenario
from scripts.pipeline import Bench, Job
from scripts.pipeline.candidate import Candidate, read_candidate
from scripts.pipeline.obtain import load
from scripts.pipeline.receive import receive
from scripts.smoke.gpu import Gpu, choose_targets
from scripts.smoke.models.zoo import write_configuration
from scripts.smoke.smoke import (
    Evidence,
    describe_host,
    identify_run,
    inside_files,
    keep_evidence,
    make_environment,
    make_readable,
    open_cache,
    read_evidence,
)
from scripts.smoke.watch import run_watched
from scripts.workspace import Workspace

KIND = "compare"
SCRIPT = "measure.py"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Asked:
    """What to measure: the parts, how often each, and the GiB of a GPU's memory that the engines may hold.

    `again` measures what has been measured, too.
    """

    parts: tuple[str, ...]
    limit_gib: int
    runs: int = RUNS
    again: bool = False


@dataclass(frozen=True)
class Subject:
    """One cell that is compared, with the engine that its image has."""

    job: Job
    limit_gib: int

    @property
    def engine(self) -> ServingEngine:
        return ENGINES[self.job.cell.image]

    def scenario(self, part: str) -> Scenario:
        return make_part(self.job.cell, self.engine, part, self.limit_gib)

    def ask_id(self, part: str, digest: str) -> str:
        """The content id of what a part asks: another digest, script, model or bound asks anew."""
        scenario = self.scenario(part)
        files = [*_inside(), HERE / "models.py"]
        return identify_run(files, scenario, make_environment(self.job.cell, scenario), digest)

    def recall(self, workspace: Workspace, part: str, digest: str) -> Evidence | None:
        """What an earlier run of a part has found of this digest, asked the very same."""
        folder = self.job.cell_folder(workspace)
        return read_evidence(folder, part, self.ask_id(part, digest), digest, KIND)


def machine_of(host: dict[str, str]) -> str:
    """The machine in a few words: its GPU and driver, or its processors."""
    return f"{host['gpu']}, driver {host['driver']}" if "gpu" in host else host.get("cpu", "an unknown machine")


def measure(bench: Bench, subjects: Sequence[Subject], asked: Asked) -> tuple[str, dict[str, str]]:
    """Take every subject through the parts, part by part, so that an interruption leaves as much of each.

    Returns the machine, and why subjects could not be measured, by cell. Raises Undecided where none could.
    """
    undecided: dict[str, str] = {}
    machine = ""
    with ExitStack() as stack:
        gpu: Gpu | None = None
        ready = []
        for subject in subjects:
            try:
                job = subject.job
                candidate = obtain_candidate(bench, job)
                if bench.remote:
                    load(bench, job.step, candidate, may_build=False)  # GPUs elsewhere are asked for in the image
                if job.cell.target.has_gpu:
                    choose_targets(job.cell, bench.find_gpus(candidate.digest), bench.place)
                    # One for all of them, which is held once.
                    gpu = gpu or stack.enter_context(bench.hold_gpus(job.cell, candidate.digest, 1))[0]
                load(bench, job.step, candidate, may_build=False)
                work = stack.enter_context(bench.workspace.claim(f"compare-{job.cell.id}"))
                stack.enter_context(bench.gate.sharing(open_cache(work)))
                ready.append((subject, candidate, work))
                machine = machine_of(describe_host(bench.gate, candidate.digest, gpu))
            except HallmarkError as error:
                undecided[subject.job.cell.id] = explain(error)
        if subjects and not ready:
            mend = "mend that, then run the same command again"
            raise Undecided([Problem(reason, cell, mend) for cell, reason in undecided.items()])
        for part in asked.parts:
            for subject, candidate, work in ready:
                try:
                    measure_part(bench, subject, part, candidate.digest, asked, work, gpu)
                except HallmarkError as error:
                    undecided[subject.job.cell.id] = explain(error)
    return machine, undecided


def obtain_candidate(bench: Bench, job: Job) -> Candidate:
    """The candidate that is known here, or that is brought here by its digest. Nothing is built. Raises Undecided."""
    if job.options.digest:
        return receive(bench, job.step, job.options.digest, job.options.source).candidate
    known = read_candidate(bench.workspace, job.step.build_id)
    if known is None:
        raise Undecided("its candidate is not here", job.cell.id, f"nox -s build -- {job.cell.id}")
    return known


def measure_part(
    bench: Bench, subject: Subject, part: str, digest: str, asked: Asked, work: Path, gpu: Gpu | None
) -> None:
    """Measure one part, unless as many runs of it are known from this machine; its evidence is written as it ends.

    Of a part whose runs each start anew there is evidence after each of them, and a later call adds those that lack.
    """
    cell = subject.job.cell
    if find_gap(cell, part, subject.limit_gib):
        return
    host = describe_host(bench.gate, digest, gpu)
    known = subject.recall(bench.workspace, part, digest)
    if known and (asked.again or machine_of(known.host) != machine_of(host)):
        known = None
    scenario, ask_id = subject.scenario(part), subject.ask_id(part, digest)
    folder = work / part
    runs = 1 if part in ONE_BY_ONE else asked.runs
    for _ in range(0, count_lacking(known, part, asked.runs), runs):
        with announce(cell.id, f"compare {part}") as update:
            lay_out(scenario, subject, folder, update)
            environment = make_environment(cell, scenario) | {"HALLMARK_RUNS": str(runs)}
            ended = run_watched(bench.gate, digest, folder, scenario, environment, gpu, open_cache(work), SCRIPT)
        if known and part in ONE_BY_ONE:
            ended = replace(ended, results=add_runs(known.results, ended.results))
        known = keep_evidence(subject.job.cell_folder(bench.workspace), part, ask_id, digest, ended, host, KIND)
        if not known.passed:
            return


def count_lacking(known: Evidence | None, part: str, runs: int) -> int:
    """How many of so many runs there is no evidence of. One that failed is evidence, whatever was to follow it."""
    done = count_runs(known) if known else 0
    over = known and not known.passed and part in ONE_BY_ONE and done > 0
    return 0 if over else max(0, runs - done)


def lay_out(scenario: Scenario, subject: Subject, folder: Path, update: Update) -> None:
    """Make the folder that the container sees: the scripts, and the configurations of all models."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (*inside_files(), *_inside()):
        shutil.copyfile(path, folder / path.name)
    for model in MODELS.values():
        write_configuration(model.config, folder / "models" / model.name)
    make_readable(folder)
    update(f"{len(scenario.checks)} checks in a container of {subject.engine.title}")


def explain(error: HallmarkError) -> str:
    """The causes of an error and what to do, in one line."""
    return "; ".join(f"{each.cause} ({each.next_step})" if each.next_step else each.cause for each in error.problems)


def _inside() -> list[Path]:
    return sorted((HERE / "inside").glob("*.py"))
