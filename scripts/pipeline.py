"""The stages of a cell, in order, up to the one that was asked for. What is done already is not done again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from scripts.build.build import Candidate, build_step, find_candidate, find_layout
from scripts.build.layout import Layout
from scripts.build.steps import Step, make_steps
from scripts.console import note
from scripts.console import step as announce
from scripts.engine import Engine
from scripts.engine.images import has_image, load_layout
from scripts.errors import BuildFailed, ExitCode, HallmarkError, Problem, Undecided
from scripts.fetch import fetch_files
from scripts.files import write_json
from scripts.matrix import Smoke
from scripts.model import Outcome, Verdict
from scripts.plan import PlannedCell, require_buildable
from scripts.project import Project, open_engine
from scripts.publish.stamp import name_repository, name_tags, stamp_engine, stamp_registry, withdraw
from scripts.smoke.smoke import Evidence, identify, read_evidence, run_smoke
from scripts.trim import trim
from scripts.verdict import EXIT_CODES, decide

UNKNOWN = "–"


class Stage(IntEnum):
    """How far to go; each stage includes those before it."""

    BUILD = 1
    SMOKE = 2
    PUBLISH = 3


@dataclass
class CellReport:
    """One cell's row in the summary: what each stage came to, and the exit code that the cell alone would give."""

    cell: str
    build: str = UNKNOWN
    smoke: str = UNKNOWN
    verdict: str = UNKNOWN
    digest: str = ""
    size: int = 0
    seconds: float = 0.0
    tag: str = ""
    exit_code: ExitCode = ExitCode.INCONCLUSIVE
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class CellVerdict:
    """What was decided of a cell's current build, and why it was not accepted."""

    cell: str
    digest: str
    verdict: Verdict
    reasons: tuple[str, ...]


def read_verdicts(project: Project, plan: Sequence[PlannedCell]) -> list[CellVerdict]:
    """The verdict on each cell's current build, from its evidence; without any, inconclusive."""
    steps = {step.name: step for step in make_steps(project.matrix, [planned for planned in plan if not planned.gap])}
    return [_read_verdict(project, planned, steps.get(planned.cell.id)) for planned in plan]


def _read_verdict(project: Project, planned: PlannedCell, step: Step | None) -> CellVerdict:
    if step is None:
        return CellVerdict(planned.cell.id, "", Verdict.INCONCLUSIVE, (planned.gap,))
    cell, smoke, build_id = planned.cell, required_smoke(planned), step.build_id
    candidate = find_candidate(project.workspace, build_id)
    if candidate is None:
        return CellVerdict(cell.id, "", Verdict.INCONCLUSIVE, ("not built yet",))
    smoke_id = identify(cell, planned.image, smoke, candidate.digest)
    evidence = read_evidence(project.workspace.run(build_id), smoke_id, candidate.digest)
    if evidence is None:
        return CellVerdict(cell.id, candidate.digest, Verdict.INCONCLUSIVE, ("not smoke-tested yet",))
    verdict, reasons = decide(evidence.results, smoke.checks)
    return CellVerdict(cell.id, candidate.digest, verdict, tuple(reasons))


def required_smoke(planned: PlannedCell) -> Smoke:
    """What the cell's image must pass. An image with a recipe always says (the matrix is refused otherwise)."""
    if planned.image.smoke is None:
        raise ValueError(f"{planned.image.name}: no [smoke]")
    return planned.image.smoke


def run_cells(project: Project, plan: Sequence[PlannedCell], last: Stage) -> list[CellReport]:
    """Take every planned cell through the stages. One that fails does not stop the others."""
    require_buildable(plan)
    steps = {step.name: step for step in make_steps(project.matrix, plan)}
    if last is Stage.PUBLISH and project.site.registry:
        for planned in plan:  # a name that no registry could have is noticed before the hours of work
            name_repository(project.site.registry, planned.image.name)
    with project.workspace.claim():
        engine = open_engine(project)
        reports = [_run_cell(project, engine, planned, steps[planned.cell.id], last) for planned in plan]
        try:
            trim(project.workspace, engine, steps.values())
        except HallmarkError as error:  # what was decided stands, whatever is left lying about
            note(f"not everything was tidied up: {error}")
    return reports


def build_chain(project: Project, engine: Engine, step: Step) -> Layout:
    """Build a step after those that it stands on, fetching what they need."""
    if layout := find_layout(project.workspace, step.build_id):
        return layout
    if step.parent:
        build_chain(project, engine, step.parent)
    with announce(step.name, "fetch"):
        cache = fetch_files(step.inputs, project.site, project.matrix.platform)
    return build_step(step, engine, cache, project.workspace)


def _run_cell(project: Project, engine: Engine, planned: PlannedCell, step: Step, last: Stage) -> CellReport:
    report = CellReport(planned.cell.id)
    started = time.monotonic()
    try:
        candidate = _build(project, engine, step, report, needs_image=last > Stage.BUILD)
        report.exit_code = ExitCode.ACCEPTED
        if last >= Stage.SMOKE:
            evidence = _smoke(project, engine, planned, candidate, report)
            if last >= Stage.PUBLISH:
                _publish(project, engine, planned, step, evidence, report)
    except HallmarkError as error:
        report.exit_code = error.exit_code
        report.problems = error.problems
        if isinstance(error, BuildFailed):
            report.build = "failed"
        report.verdict = "undecided" if report.verdict == UNKNOWN else report.verdict
    report.seconds = time.monotonic() - started
    return report


def _build(project: Project, engine: Engine, step: Step, report: CellReport, *, needs_image: bool) -> Candidate:
    workspace = project.workspace
    candidate = find_candidate(workspace, step.build_id)
    kept = candidate and (find_layout(workspace, step.build_id) or has_image(engine, candidate.digest))
    if candidate is None or not kept:
        build_chain(project, engine, step)
        candidate = find_candidate(workspace, step.build_id)
        if candidate is None:
            raise Undecided("the build left no record", str(workspace.run(step.build_id)), "run the same command again")
        report.build = f"built in {candidate.seconds:.0f} s"
    else:
        report.build = "unchanged"
    report.digest, report.size = candidate.digest, candidate.size
    if needs_image and not has_image(engine, candidate.digest):
        with announce(step.name, "load"):
            engine.prune_build_cache()  # before the image is unpacked once more, its build's copy can go
            load_layout(engine, workspace.layout(step.build_id), candidate.digest)
    return candidate


def _smoke(
    project: Project, engine: Engine, planned: PlannedCell, candidate: Candidate, report: CellReport
) -> Evidence:
    cell, image, smoke = planned.cell, planned.image, required_smoke(planned)
    run = project.workspace.run(candidate.build_id)
    evidence = read_evidence(run, identify(cell, image, smoke, candidate.digest), candidate.digest)
    if evidence and any(result.outcome is Outcome.ERROR for result in evidence.results):
        evidence = None  # what could not be decided is asked again
    if evidence:
        report.smoke = "unchanged: "
    else:
        report.smoke = ""
        with announce(cell.id, "smoke") as update:
            evidence = run_smoke(engine, cell, image, smoke, candidate.digest, project.workspace.work, run, update)
    passed = sum(result.outcome is Outcome.PASSED for result in evidence.results)
    report.smoke += f"{passed} of {len(evidence.results)} passed"
    verdict, reasons = decide(evidence.results, smoke.checks)
    report.verdict, report.exit_code = verdict, EXIT_CODES[verdict]
    report.problems = [Problem(reason, next_step=f"read {run / 'smoke.log'}") for reason in reasons]
    write_json(
        run / "verdict.json",
        {
            "cell": cell.id,
            "digest": candidate.digest,
            "smoke_id": evidence.smoke_id,
            "verdict": verdict,
            "reasons": reasons,
        },
    )
    if verdict is not Verdict.ACCEPTED and (gone := withdraw(engine, candidate.digest)):
        note(f"{cell.id}: no longer accepted, so these tags were withdrawn: {', '.join(gone)}")
    return evidence


def _publish(
    project: Project, engine: Engine, planned: PlannedCell, step: Step, evidence: Evidence, report: CellReport
) -> None:
    if report.verdict is not Verdict.ACCEPTED:
        return
    tags = name_tags(planned, step.build_id)
    report.tag = stamp_engine(engine, evidence.digest, tags)
    if project.site.registry:
        with announce(planned.cell.id, "publish"):
            layout = build_chain(project, engine, step)
            if layout.digest != evidence.digest:  # `clean` took the layout, and an engine of another kind built it anew
                raise Undecided(
                    f"the image was rebuilt as {layout.digest}, but {evidence.digest} is what was tested",
                    planned.cell.id,
                    "run the same command again: it tests the new one",
                )
            locks = project.workspace.folder / "locks"
            report.tag = stamp_registry(project.site.registry, layout, tags, evidence, planned.cell.id, locks)
