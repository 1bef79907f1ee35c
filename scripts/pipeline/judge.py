"""The verdict on a cell: reduced from the evidence on the disk, by one function for a run and for `verdict` alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.assemble.types import BuildOptions
from scripts.audit.evidence import AUDIT, identify_audit, identify_wheels, read_audit
from scripts.files import write_json
from scripts.matrix import Matrix
from scripts.model import Result, Verdict
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.job import Job, Options, Stage, make_jobs
from scripts.plan import PlannedCell
from scripts.smoke.smoke import identify, read_evidence
from scripts.verdict import decide
from scripts.workspace import Workspace

WHEELS_FILE, AUDIT_FILE = "wheels.json", "audit.json"


@dataclass(frozen=True)
class CellVerdict:
    """What was decided of a cell's current build, why it was not accepted, and the file that tells more."""

    cell: str
    digest: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    record: str = ""
    smoke_id: str = ""


def judge_cell(workspace: Workspace, job: Job) -> CellVerdict:
    """The verdict on a cell's current build, from what runs have written; without evidence, inconclusive."""
    candidate = read_candidate(workspace, job.step.build_id)
    digest = candidate.digest if candidate else ""
    results: list[Result] = []
    record = AUDIT_FILE
    has_gpu = job.cell.target.has_gpu
    if has_gpu and (wheels := recall_wheels(workspace, job)) and not wheels.passed:
        verdict, reasons = decide([wheels], required_checks(job))
        return _verdict(job, digest, verdict, reasons, WHEELS_FILE)
    if not digest:
        return _verdict(job, "", Verdict.INCONCLUSIVE, ["not built yet"])
    if has_gpu:
        if (audit := recall_audit(workspace, job, digest)) is None:
            return _verdict(job, digest, Verdict.INCONCLUSIVE, ["not audited yet"])
        results.append(audit)
    smoke_id = identify(job.cell, job.planned.image, job.smoke, digest)
    evidence = read_evidence(job.cell_folder(workspace), smoke_id, digest)
    if evidence:
        results += evidence.results
        record = f"{job.cell.id}/smoke.log"
    elif all(result.passed for result in results):
        return _verdict(job, digest, Verdict.INCONCLUSIVE, ["not smoke-tested yet"])
    verdict, reasons = decide(results, required_checks(job))
    return _verdict(job, digest, verdict, reasons, record, smoke_id if evidence else "")


def required_checks(job: Job) -> tuple[str, ...]:
    """The checks that a candidate must pass by name: the audit, where it is for a GPU, and its image's smoke checks."""
    return (*((AUDIT,) if job.cell.target.has_gpu else ()), *job.smoke.checks)


def recall_wheels(workspace: Workspace, job: Job) -> Result | None:
    """The audit of the wheels that go in, by today's rules, if there was one."""
    audit_id = identify_wheels(job.step.wheels, job.cell.target, job.rules)
    return read_audit(job.build_folder(workspace) / WHEELS_FILE, audit_id)


def recall_audit(workspace: Workspace, job: Job, digest: str) -> Result | None:
    """The audit of this digest by today's rules, if there was one."""
    audit_id = identify_audit(digest, job.cell.target, job.rules)
    return read_audit(job.build_folder(workspace) / AUDIT_FILE, audit_id)


def write_verdict(workspace: Workspace, job: Job, verdict: CellVerdict) -> None:
    """Keep a verdict beside the cell's evidence, for people: `verdict` itself reads the evidence anew."""
    write_json(
        job.cell_folder(workspace) / "verdict.json",
        {
            "cell": verdict.cell,
            "digest": verdict.digest,
            "smoke_id": verdict.smoke_id,
            "verdict": verdict.verdict,
            "reasons": list(verdict.reasons),
        },
    )


def read_verdicts(
    workspace: Workspace, matrix: Matrix, plan: Sequence[PlannedCell], build: BuildOptions
) -> list[CellVerdict]:
    """The verdict on each planned cell's current build; a cell without a recipe says so."""
    ready = [planned for planned in plan if not planned.gap]
    jobs = {job.cell.id: job for job in make_jobs(matrix, ready, build, Stage.PUBLISH, Options())}
    return [
        CellVerdict(planned.cell.id, "", Verdict.INCONCLUSIVE, (planned.gap,))
        if planned.gap
        else judge_cell(workspace, jobs[planned.cell.id])
        for planned in plan
    ]


def _verdict(
    job: Job, digest: str, verdict: Verdict, reasons: Sequence[str], record: str = "", smoke_id: str = ""
) -> CellVerdict:
    return CellVerdict(job.cell.id, digest, verdict, tuple(reasons), record, smoke_id)
