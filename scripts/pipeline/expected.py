"""What a checkout requires of a cell, in the words in which a consumer asks for it."""

from __future__ import annotations

from dataclasses import replace

from scripts.matrix import select_scenarios
from scripts.pipeline.judge import required_checks
from scripts.plan import PlannedCell
from scripts.verify.tested import Expected, Target


def expect(planned: PlannedCell) -> Expected:
    """The GPU that a cell is for, the checks that must pass, and those that decide nothing."""
    cell = planned.cell
    scenarios = select_scenarios(planned.image.scenarios, cell)
    others = [replace(each, required=True) for each in scenarios if not each.required]
    target = Target(cell.target.id, cell.target.name, cell.target.compute, cell.cuda.id if cell.cuda else "")
    return Expected(target, frozenset(required_checks(cell, scenarios)), frozenset(required_checks(cell, others)))
