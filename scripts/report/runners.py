"""What CI is about to run, and what it is not, on stderr and in the step summary: stdout is for the next job."""

from __future__ import annotations

from scripts.console import note
from scripts.report.table import append_step_summary
from scripts.runners import Drawn


def show_drawn(drawn: Drawn, what: str) -> None:
    """A row for each job with its runner, then each cell that has none, with the reason."""
    rows = [[_name(row), f"{what} on {_list(row['runner'])}"] for row in drawn.rows]
    rows += [[cell, f"not run: {why}"] for cell, why in drawn.absences.items()]
    append_step_summary(["cell", what], rows)
    for name, said in rows:
        note(f"{name}: {said}")


def _name(row: dict[str, object]) -> str:
    return str(row.get("id") or row["candidate"])


def _list(runner: object) -> str:
    return ", ".join(map(str, runner)) if isinstance(runner, list) else str(runner)
