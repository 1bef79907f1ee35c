"""The runs of the gate, as an image's own file lists them: each is one container, and says where it cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scripts.matrix.rules import Scope
from scripts.model import Cell

USUAL_START_S = 420  # generous to a first start that compiles: a server can also hang after its engine has died


@dataclass(frozen=True)
class Absence:
    """Cells that a scenario is not for, and why."""

    reason: str
    scope: Scope


@dataclass(frozen=True)
class UpstreamTest:
    """A file of the recipe's suite, by its path in the suite's folder, of which at least `passes` tests must pass.

    `without` are parts of the names of tests that are left out, for the `reason` that is given. `marks` are pytest's,
    put on all of them: they tell the suite's own conftest what to leave out.
    """

    file: str
    passes: int
    without: tuple[str, ...] = ()
    reason: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """One run of an image's smoke script: what it is given, the checks that must pass, and its container's bounds.

    `model` is one of the gate's models, or empty where the script needs none; `dtype` the type that it is computed in
    (empty: float32 on the CPU, bfloat16 on GPUs); `arguments` are the server's, and `environment` variables for it and
    for the script. `timeout_s` is for all of it, `start_s` for the server to become healthy, both in seconds;
    `memory_gib` is in GiB. One that is not `required` is run and recorded, and decides nothing. `tests` are upstream's
    own, which the check `upstream` runs.
    """

    name: str
    checks: tuple[str, ...]
    timeout_s: int
    memory_gib: int
    model: str = ""
    dtype: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    required: bool = True
    absences: tuple[Absence, ...] = ()
    tests: tuple[UpstreamTest, ...] = ()
    start_s: int = USUAL_START_S

    def find_absence(self, cell: Cell) -> Absence | None:
        """Why this is not for a cell, if it is not."""
        return next((absence for absence in self.absences if absence.scope.covers(cell)), None)


def select_scenarios(scenarios: Sequence[Scenario], cell: Cell) -> tuple[Scenario, ...]:
    """Those that a cell goes through, in order."""
    return tuple(scenario for scenario in scenarios if not scenario.find_absence(cell))
