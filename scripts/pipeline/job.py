"""What is asked of one cell, and the row that comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from scripts.assemble.steps import make_steps
from scripts.assemble.types import Step
from scripts.errors import ConfigError, ExitCode, Problem
from scripts.lock import read_slot, suite_slot
from scripts.matrix import AuditRule, Image, Matrix, Scenario, select_rules, select_scenarios
from scripts.model import BuildOptions, Cell
from scripts.plan import PlannedCell
from scripts.smoke.models.zoo import MODELS
from scripts.smoke.smoke import Evidence
from scripts.text import name_some
from scripts.workspace import Workspace

UNKNOWN = "–"
_CHOICE = name_some(MODELS)


class Stage(IntEnum):
    """How far to go; each stage includes those before it. A build for a GPU includes its audit."""

    BUILD = 1
    SMOKE = 2
    PUBLISH = 3


@dataclass(frozen=True)
class Options:
    """How to run: cells at a time, whether others go on after one has failed, and where a candidate comes from.

    `digest` is a candidate that was built elsewhere, `source` where it lies (a layout folder, an archive, `engine`, or
    an image's name in a registry; empty: wherever it is found).
    """

    jobs: int = 1
    keep_going: bool = True
    digest: str = ""
    source: str = ""


@dataclass(frozen=True)
class Job:
    """One cell with the image that it needs, and how far to take it."""

    planned: PlannedCell
    step: Step
    last: Stage = Stage.BUILD
    options: Options = Options()

    @property
    def cell(self) -> Cell:
        return self.planned.cell

    @property
    def rules(self) -> tuple[AuditRule, ...]:
        """The audit's policy for this cell."""
        return tuple(select_rules(self.planned.image.audit, self.cell))

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The runs of the gate that the cell goes through, in order."""
        return select_scenarios(self.planned.image.scenarios, self.cell)

    def part(self, evidence: Sequence[Evidence]) -> tuple[tuple[Evidence, ...], tuple[Evidence, ...]]:
        """The evidence of the scenarios that are required, and that of the others."""
        required = {scenario.name for scenario in self.scenarios if scenario.required}
        return (
            tuple(each for each in evidence if each.scenario in required),
            tuple(each for each in evidence if each.scenario not in required),
        )

    def build_folder(self, workspace: Workspace) -> Path:
        """The evidence of the candidate, which all cells of its compute capability share."""
        return workspace.run(self.step.build_id)

    def cell_folder(self, workspace: Workspace) -> Path:
        """The evidence of this cell alone: on this target's GPU."""
        return self.build_folder(workspace) / self.cell.id


@dataclass(frozen=True)
class CellReport:
    """One cell's row in the summary: what each stage came to, and the exit code that the cell alone would give."""

    cell: str
    build: str = UNKNOWN
    audit: str = UNKNOWN
    smoke: str = UNKNOWN
    verdict: str = UNKNOWN
    digest: str = ""
    size: int = 0
    seconds: float = 0.0
    tag: str = ""
    exit_code: ExitCode = ExitCode.INCONCLUSIVE
    problems: tuple[Problem, ...] = ()


def make_jobs(
    matrix: Matrix, plan: Sequence[PlannedCell], build: BuildOptions, last: Stage, options: Options
) -> list[Job]:
    """A job for each planned cell, in the plan's order.

    Raises ConfigError for a missing or stale lock, and for a scenario with a model or a suite that there is not.
    """
    _check_models(planned.image for planned in plan)
    _check_suites(matrix, plan)
    steps = {step.name: step for step in make_steps(matrix, plan, build)}
    return [Job(planned, steps[planned.cell.candidate], last, options) for planned in plan]


def _check_models(images: Iterable[Image]) -> None:
    known = ("", *MODELS)
    wrong = {
        (image.name, scenario.name): scenario.model
        for image in images
        for scenario in image.scenarios
        if scenario.model not in known
    }
    if wrong:
        raise ConfigError(
            [
                Problem(f"scenario `{name}`: unknown model `{model}`", f"images/{image}/image.toml", _CHOICE)
                for (image, name), model in wrong.items()
            ]
        )


def _check_suites(matrix: Matrix, plan: Sequence[PlannedCell]) -> None:
    problems = []
    for planned in plan:
        asked = [each.name for each in select_scenarios(planned.image.scenarios, planned.cell) if each.tests]
        if not asked or planned.recipe is None:
            continue
        if planned.recipe.suite:
            read_slot(matrix.root, suite_slot(matrix, planned.image, (planned.cell.recipe, planned.cell.line)))
            continue
        cause = f"scenario `{asked[0]}` has tests of upstream's, and the recipe for {planned.cell.id} no suite"
        step = "write the recipe's `suite`, or except the cell from the scenario"
        problems.append(Problem(cause, f"images/{planned.image.name}/image.toml", step))
    if problems:
        raise ConfigError(problems)
