"""Every planned cell through the stages, several side by side where that helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from scripts.build.steps import make_steps
from scripts.console import note
from scripts.engine import Engine
from scripts.errors import ExitCode, HallmarkError, Problem
from scripts.pipeline.cell import CellRun
from scripts.pipeline.chain import Builder
from scripts.pipeline.rows import CellReport, Options, Stage
from scripts.plan import PlannedCell, require_buildable
from scripts.project import Project, open_engine
from scripts.publish.stamp import name_repository
from scripts.trim import trim

# What makes the cells that come after not worth their hours, unless one asks to keep going.
_FAILURES = (ExitCode.REJECTED, ExitCode.BUILD_FAILED)


def run_cells(
    project: Project,
    plan: Sequence[PlannedCell],
    last: Stage,
    options: Options = Options(),  # noqa: B008
) -> list[CellReport]:
    """Take every planned cell through the stages; one row for each, in the plan's order.

    After a failure no further cell is begun, unless `keep_going`; a cell that could not be decided is none.
    """
    require_buildable(plan)
    steps = {step.name: step for step in make_steps(project.matrix, plan)}
    if last is Stage.PUBLISH and project.site.registry:
        for planned in plan:  # a name that no registry could have is noticed before the hours of work
            name_repository(project.site.registry, planned.image.name)
    failed = Event()

    def take(planned: PlannedCell) -> CellReport:
        if failed.is_set() and not options.keep_going:
            cause = "not begun, because another cell failed before"
            return CellReport(planned.cell.id, problems=[Problem(cause, "", "mend that one, or give --keep-going")])
        report = CellRun(builder, planned, steps[planned.cell.candidate], options.digest).take(last)
        if report.exit_code in _FAILURES:
            failed.set()
        return report

    with project.workspace.claim():
        engine = open_engine(project)
        builder = Builder(project, engine)
        reports = [take(planned) for planned in plan] if options.jobs < 2 else _take_many(take, plan, engine, options)
        try:
            trim(project.workspace, engine, steps.values())
        except HallmarkError as error:  # what was decided stands, whatever is left lying about
            note(f"not everything was tidied up: {error}")
    return reports


def _take_many(
    take: Callable[[PlannedCell], CellReport], plan: Sequence[PlannedCell], engine: Engine, options: Options
) -> list[CellReport]:
    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            return list(pool.map(take, plan))
        except BaseException:  # an interruption reaches this thread alone: the others end with their builds
            pool.shutdown(wait=False, cancel_futures=True)
            engine.end_children()
            raise
