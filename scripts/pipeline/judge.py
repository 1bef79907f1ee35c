"""The verdict on a cell: reduced from the evidence on the disk, by one function for a run and for `verdict` alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.audit.evidence import AUDIT, identify_audit, identify_wheels, read_audit
from scripts.files import write_json
from scripts.matrix import Matrix, Scenario
from scripts.model import BuildOptions, Cell, Result, Verdict
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.job import Job, Options, Stage, make_jobs
from scripts.plan import PlannedCell
from scripts.smoke.smoke import Evidence, identify, log_file, name_check, read_evidence
from scripts.smoke.trial import CONTAINER
from scripts.smoke.watch import WATCHED
from scripts.verdict import decide
from scripts.workspace import Workspace

WHEELS_FILE, AUDIT_FILE = "wheels.json", "audit.json"


@dataclass(frozen=True)
class CellVerdict:
    """What was decided of a cell's current build, why it was not accepted, and the file that tells more.

    `scenarios` are those that there is evidence of, each with the content id of what was asked.
    """

    cell: str
    digest: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    record: str = ""
    scenarios: Mapping[str, str] = field(default_factory=dict)


def judge_cell(workspace: Workspace, job: Job) -> CellVerdict:
    """The verdict on a cell's current build, from what runs have written; without evidence, inconclusive."""
    candidate = read_candidate(workspace, job.step.build_id)
    digest = candidate.digest if candidate else ""
    has_gpu = job.cell.target.has_gpu
    if has_gpu and (wheels := recall_wheels(workspace, job)) and not wheels.passed:
        verdict, reasons = decide([wheels], required_checks(job.cell, job.scenarios))
        return _verdict(job, digest, verdict, reasons, WHEELS_FILE)
    if not digest:
        return _verdict(job, "", Verdict.INCONCLUSIVE, ["not built yet"])
    audit = recall_audit(workspace, job, digest) if has_gpu else None
    return judge_evidence(job, digest, audit, recall_scenarios(workspace, job, digest))


def judge_evidence(job: Job, digest: str, audit: Result | None, known: Mapping[str, Evidence]) -> CellVerdict:
    """The verdict on a digest as a job's cell, from its audit and the evidence of its scenarios, wherever they lie."""
    results: list[Result] = []
    record = AUDIT_FILE
    if job.cell.target.has_gpu:
        if audit is None:
            return _verdict(job, digest, Verdict.INCONCLUSIVE, ["not audited yet"])
        results.append(audit)
    asked = {name: evidence.smoke_id for name, evidence in known.items()}
    required, _ = job.part(tuple(known.values()))
    results += [result for each in required for result in each.named]
    lacking = [each.name for each in job.scenarios if each.required and each.name not in known]
    if lacking and all(result.passed for result in results):
        cause = f"not smoke-tested yet: {', '.join(lacking)}" if known else "not smoke-tested yet"
        return _verdict(job, digest, Verdict.INCONCLUSIVE, [cause], scenarios=asked)
    if len(drivers := sorted({each.host.get("driver", "") for each in required})) > 1:
        cause = f"smoke-tested with several drivers: {', '.join(drivers)}"
        return _verdict(job, digest, Verdict.INCONCLUSIVE, [cause], scenarios=asked)
    if failed := [each.scenario for each in required if not each.passed]:
        log = log_file(Path(job.cell.id), failed[0])
        record = (log if len(failed) == 1 else log.parent).as_posix()
    verdict, reasons = decide(results, required_checks(job.cell, job.scenarios))
    return _verdict(job, digest, verdict, reasons, record, asked)


def required_checks(cell: Cell, scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """The checks that a candidate must pass by name: the audit, where it is for a GPU, and those of its scenarios.

    How the container ended is one of each scenario's, and how the GPU fared. None where there is no scenario: an audit
    alone shows too little.
    """
    required = [each for each in scenarios if each.required]
    has_gpu = cell.target.has_gpu
    audit, ours = (AUDIT,) if required and has_gpu else (), (CONTAINER, WATCHED) if has_gpu else (CONTAINER,)
    return (*audit, *(name_check(each.name, check) for each in required for check in (*each.checks, *ours)))


def recall_scenarios(workspace: Workspace, job: Job, digest: str) -> dict[str, Evidence]:
    """What there is of today's scenarios for this digest, in their order."""
    found = {}
    for scenario in job.scenarios:
        smoke_id = identify(job.cell, job.planned.image, scenario, digest)
        if evidence := read_evidence(job.cell_folder(workspace), scenario.name, smoke_id, digest):
            found[scenario.name] = evidence
    return found


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
            "scenarios": dict(verdict.scenarios),
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
    job: Job,
    digest: str,
    verdict: Verdict,
    reasons: Sequence[str],
    record: str = "",
    scenarios: Mapping[str, str] | None = None,
) -> CellVerdict:
    return CellVerdict(job.cell.id, digest, verdict, tuple(reasons), record, scenarios or {})
