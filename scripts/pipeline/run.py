"""Every planned cell through its stages, several side by side where that helps; what came of each is composed once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Event

from scripts.compile.estimate import Machine, describe_work
from scripts.compile.kept import find_compiled, recall_compiled
from scripts.console import note
from scripts.errors import BuildFailed, ExitCode, HallmarkError, Problem
from scripts.model import Result, Verdict
from scripts.pipeline.abreast import run_abreast
from scripts.pipeline.bench import Bench
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.job import UNKNOWN, CellReport, Job, Stage
from scripts.pipeline.judge import CellVerdict
from scripts.pipeline.obtain import Obtained, complete, obtain
from scripts.pipeline.receive import receive
from scripts.pipeline.stages import audit_image, audit_wheels, publish, push, rule, smoke
from scripts.smoke.smoke import Evidence
from scripts.verdict import EXIT_CODES

# What makes the cells that come after not worth their hours, unless one asks to keep going.
_FAILURES = (ExitCode.REJECTED, ExitCode.BUILD_FAILED)


@dataclass(frozen=True)
class Findings:
    """How far a cell has come: what each stage that it went through gave."""

    wheels: Result | None = None
    obtained: Obtained | None = None
    audit: Result | None = None
    smoked: str = ""
    verdict: CellVerdict | None = None
    tag: str = ""


def run_cells(bench: Bench, jobs: Sequence[Job]) -> list[CellReport]:
    """Take every job through its stages; one row for each, in order.

    After a failure no further cell is begun, unless `keep_going`; a cell that could not be decided is none.
    """
    _prepare_compiling(bench, jobs)
    failed = Event()

    def take(job: Job) -> CellReport:
        if failed.is_set() and not job.options.keep_going:
            cause = "not begun, because another cell failed before"
            return CellReport(
                job.cell.id, problems=(Problem(cause, job.cell.id, "mend that one, or give --keep-going"),)
            )
        report = run_cell(bench, job)
        if report.exit_code in _FAILURES:
            failed.set()
        return report

    at_a_time = max((job.options.jobs for job in jobs), default=1)
    return run_abreast(take, jobs, at_a_time, bench.stop)


def _prepare_compiling(bench: Bench, jobs: Sequence[Job]) -> None:
    """Say what there is to compile, and have its sources: what cannot be had is known before hours of work.

    Raises Undecided with every source that is not to be had, unless other cells are to go on without them.
    """
    wanted = {each.build_id: each for job in jobs if not job.options.digest for each in job.step.compiled}
    missing = [each for each in wanted.values() if not find_compiled(bench.cache, each.build_id)]
    if not missing:
        return
    for line in describe_work([each.component for each in missing], Machine.here()):
        note(f"to compile: {line}")
    if not any(job.options.keep_going for job in jobs):
        bench.fetch_sources(missing)


def run_cell(bench: Bench, job: Job) -> CellReport:
    """Go as far as the job says, or as the verdicts allow; whatever fails ends the cell, never the run."""
    started = time.monotonic()
    findings, failure = Findings(), None
    try:
        for findings in go(bench, job):  # noqa: B007  the last that was reached is what counts
            pass
    except HallmarkError as error:
        failure = error
    return compose(bench, job, findings, failure, time.monotonic() - started)


def go(bench: Bench, job: Job) -> Iterator[Findings]:
    """The stages in their order; yields what is known after each."""
    found = Findings()
    job = _with_wheels(bench, job)
    if job.cell.target.has_gpu and not job.options.digest:
        found = replace(found, wheels=(wheels := audit_wheels(bench, job)))
        if not wheels.passed:
            yield replace(found, verdict=rule(bench, job))
            return
    asked = job.options
    obtained = receive(bench, job.step, asked.digest, asked.source) if asked.digest else obtain(bench, job.step)
    found = replace(found, obtained=obtained)
    yield found
    candidate = obtained.candidate
    results: list[Result] = []
    if job.cell.target.has_gpu:
        found = replace(found, audit=(audit := audit_image(bench, job, candidate)))
        yield found
        results.append(audit)
        if not audit.passed:
            yield replace(found, verdict=rule(bench, job))
            return
    if bench.project.site.registry:
        push(bench, job, candidate)
    if job.last < Stage.SMOKE:
        return
    evidence, known = smoke(bench, job, candidate)
    smoked = f"{'unchanged: ' if known else ''}{_count_passed(job, evidence)}"
    found = replace(found, smoked=smoked, verdict=(verdict := rule(bench, job)))
    yield found
    if job.last >= Stage.PUBLISH and verdict.verdict is Verdict.ACCEPTED:
        yield replace(found, tag=publish(bench, job, candidate, results, evidence))


def _count_passed(job: Job, evidence: Sequence[Evidence]) -> str:
    """How many checks passed, of the scenarios that count; those that do not are named where one of theirs failed."""
    required, others = job.part(evidence)
    results = [result for each in required for result in each.results]
    failed = [each.scenario for each in others if not each.passed]
    rest = f"; not required, and failed: {', '.join(failed)}" if failed else ""
    return f"{sum(result.passed for result in results)} of {len(results)} passed{rest}"


def _with_wheels(bench: Bench, job: Job) -> Job:
    """The job with its compiled wheels. They are made where they are missing, unless the candidate is known already."""
    known = job.options.digest or read_candidate(bench.workspace, job.step.build_id)
    return replace(job, step=recall_compiled(bench.cache, job.step) if known else complete(bench, job.step))


def compose(bench: Bench, job: Job, found: Findings, failure: HallmarkError | None, seconds: float) -> CellReport:
    """A cell's row, from what its stages gave and what ended it."""
    candidate = found.obtained.candidate if found.obtained else None
    verdict = found.verdict
    code = EXIT_CODES[verdict.verdict] if verdict else ExitCode.ACCEPTED
    problems: tuple[Problem, ...] = ()
    if verdict:
        record = job.build_folder(bench.workspace) / verdict.record
        problems = tuple(Problem(reason, "the gate", f"read {record}") for reason in verdict.reasons)
    if failure:
        code, problems = failure.exit_code, (*problems, *failure.problems)
    build = "failed" if isinstance(failure, BuildFailed) else found.obtained.how if found.obtained else UNKNOWN
    return CellReport(
        cell=job.cell.id,
        build=build,
        audit=_describe_audit(found),
        smoke=found.smoked or UNKNOWN,
        verdict=verdict.verdict if verdict else "undecided" if failure else UNKNOWN,
        digest=candidate.digest if candidate else verdict.digest if verdict else "",
        size=candidate.size if candidate else 0,
        seconds=seconds,
        tag=found.tag,
        exit_code=code,
        problems=problems,
    )


def _describe_audit(found: Findings) -> str:
    if found.audit:
        return _summarise(found.audit)
    return f"wheels rejected: {_summarise(found.wheels)}" if found.wheels and not found.wheels.passed else UNKNOWN


def _summarise(audit: Result) -> str:
    return audit.detail.partition(";")[0]
