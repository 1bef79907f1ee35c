"""Which runner builds and tests what: the jobs of build.yml as matrices for GitHub Actions, and why others are not run.

Pure: it is told which runners there are, which candidates are built, and what is decided of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.errors import ConfigError
from scripts.files import parse_json
from scripts.matrix import Matrix
from scripts.model import Verdict
from scripts.pipeline import CellVerdict, Job
from scripts.plan import PlannedCell

ORDINARY = "ubuntu-24.04"


@dataclass(frozen=True)
class Runners:
    """The runners that there are: `gpus` are the targets that have one, `compiling` the label of one that compiles."""

    gpus: tuple[str, ...] = ()
    compiling: str = ""

    def find_absence(self, planned: PlannedCell) -> str:
        """Why no runner takes a cell, or nothing."""
        target = planned.cell.target
        if planned.gap:
            return planned.gap
        if target.has_gpu and target.id not in self.gpus:
            return f"no runner has its GPU: GPU_TARGETS does not name {target.id}"
        if planned.recipe and planned.recipe.compile and not self.compiling:
            return "no runner compiles: COMPILE_RUNNER names none"
        return ""


@dataclass(frozen=True)
class Drawn:
    """The rows of a job matrix, and for each cell that has a part in none of them why."""

    rows: tuple[dict[str, Any], ...]
    absences: dict[str, str]

    def render(self) -> str:
        """The matrix as one line of JSON; nothing where there is no row, because GitHub takes no empty matrix."""
        return json.dumps({"include": self.rows}, separators=(",", ":")) if self.rows else ""


def read_gpus(text: str, matrix: Matrix) -> tuple[str, ...]:
    """The targets that have a runner, from a JSON list; nothing is none. Raises ConfigError for any other name."""
    known = [target.id for target in matrix.targets.values() if target.has_gpu]
    try:
        found = parse_json(text or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigError(f"{text[:60]!r} is no JSON list of targets", "GPU_TARGETS", f'such as ["{known[0]}"]')
    if wrong := [each for each in found if each not in known]:
        raise ConfigError(f"{', '.join(wrong)}: no GPU of the matrix", "GPU_TARGETS", f"of: {', '.join(known)}")
    return tuple(found)


def draw_builds(plan: Sequence[PlannedCell], jobs: Mapping[str, Job], runners: Runners) -> Drawn:
    """A row for each candidate of which a cell can be tested: the cell that names it, and the runner that builds it."""
    absences = {each.cell.id: why for each in plan if (why := runners.find_absence(each))}
    rows: dict[str, dict[str, Any]] = {}
    for planned in plan:
        cell = planned.cell
        if cell.id not in absences and cell.candidate not in rows:
            compiles = bool(planned.recipe and planned.recipe.compile)
            rows[cell.candidate] = {
                "candidate": cell.candidate,
                "cell": cell.id,
                "build": jobs[cell.id].step.build_id,
                "runner": runners.compiling if compiles else ORDINARY,
                "compiles": compiles,
            }
    return Drawn(tuple(rows.values()), absences)


def draw_tests(
    plan: Sequence[PlannedCell], jobs: Mapping[str, Job], verdicts: Mapping[str, CellVerdict], runners: Runners
) -> Drawn:
    """A row for each cell whose candidate is there and of which nothing is decided: its digest, and who tests it.

    What was accepted or rejected is decided. What a host could not decide, or never told of, is drawn again.
    """
    absences, rows = {}, []
    for planned in plan:
        cell = planned.cell
        if why := runners.find_absence(planned):
            absences[cell.id] = why
        elif not (verdict := verdicts[cell.id]).digest:
            absences[cell.id] = "its candidate was not built"
        elif verdict.verdict is not Verdict.INCONCLUSIVE:
            absences[cell.id] = f"{verdict.verdict} already"
        else:
            rows.append(
                {
                    "id": cell.id,
                    "candidate": cell.candidate,
                    "image": cell.image,
                    "build": jobs[cell.id].step.build_id,
                    "digest": verdict.digest,
                    "runner": ["self-hosted", "gpu", cell.target.id] if cell.target.has_gpu else ORDINARY,
                }
            )
    return Drawn(tuple(rows), absences)
