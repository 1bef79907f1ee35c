"""The verdict on a cell, reduced from the evidence that its current build has."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.audit.evidence import AUDIT, identify_audit, read_audit
from scripts.build.build import find_candidate
from scripts.build.steps import Step, make_steps
from scripts.matrix import Smoke, select_rules
from scripts.model import Result, Verdict
from scripts.pipeline.rows import CellVerdict
from scripts.plan import PlannedCell
from scripts.project import Project
from scripts.smoke.smoke import identify, read_evidence
from scripts.verdict import decide


def read_verdicts(project: Project, plan: Sequence[PlannedCell]) -> list[CellVerdict]:
    """The verdict on each cell's current build, from its evidence; without any, inconclusive."""
    steps = {step.name: step for step in make_steps(project.matrix, [planned for planned in plan if not planned.gap])}
    return [_read_verdict(project, planned, steps.get(planned.cell.candidate)) for planned in plan]


def required_smoke(planned: PlannedCell) -> Smoke:
    """What the cell's image must pass. An image with a recipe always says (the matrix is refused otherwise)."""
    if planned.image.smoke is None:
        raise ValueError(f"{planned.image.name}: no [smoke]")
    return planned.image.smoke


def required_checks(planned: PlannedCell) -> tuple[str, ...]:
    """The checks that a candidate must pass by name: the audit, where it is for a GPU, and its image's smoke checks."""
    return (*((AUDIT,) if planned.cell.target.has_gpu else ()), *required_smoke(planned).checks)


def recall_audit(project: Project, planned: PlannedCell, build_id: str, digest: str) -> Result | None:
    """The audit of this digest by today's rules, if there was one."""
    audit_id = identify_audit(digest, planned.cell.target, select_rules(planned.image.audit, planned.cell))
    return read_audit(project.workspace.run(build_id), audit_id)


def _read_verdict(project: Project, planned: PlannedCell, step: Step | None) -> CellVerdict:
    cell = planned.cell
    if step is None:
        return CellVerdict(cell.id, "", Verdict.INCONCLUSIVE, (planned.gap,))
    candidate = find_candidate(project.workspace, step.build_id)
    if candidate is None:
        return CellVerdict(cell.id, "", Verdict.INCONCLUSIVE, ("not built yet",))
    results: list[Result] = []
    if cell.target.has_gpu:
        audit = recall_audit(project, planned, step.build_id, candidate.digest)
        if audit is None:
            return CellVerdict(cell.id, candidate.digest, Verdict.INCONCLUSIVE, ("not audited yet",))
        results.append(audit)
    smoke_id = identify(cell, planned.image, required_smoke(planned), candidate.digest)
    evidence = read_evidence(project.workspace.run(step.build_id), smoke_id, candidate.digest)
    if evidence is None and all(result.passed for result in results):
        return CellVerdict(cell.id, candidate.digest, Verdict.INCONCLUSIVE, ("not smoke-tested yet",))
    verdict, reasons = decide([*results, *(evidence.results if evidence else ())], required_checks(planned))
    return CellVerdict(cell.id, candidate.digest, verdict, tuple(reasons))
