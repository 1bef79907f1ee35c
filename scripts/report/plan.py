"""Cells as planned."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.console import show
from scripts.plan import PlannedCell
from scripts.report.table import print_table


def show_plan(cells: Sequence[PlannedCell]) -> None:
    """The plan: a row a cell, with what it is made from and whether that is written yet."""
    rows = [
        [
            planned.cell.id,
            planned.cell.candidate,
            planned.cell.image,
            planned.cell.cuda.id if planned.cell.cuda else "–",
            planned.cell.target.name,
            planned.cell.recipe,
            planned.recipe.version if planned.recipe else "–",
            "not built yet" if planned.gap else "ready",
        ]
        for planned in cells
    ]
    print_table(["cell", "candidate", "image", "CUDA", "target", "recipe", "version", "status"], rows)
    gaps = [planned for planned in cells if planned.gap]
    show(f"{len(cells)} cells, {len(cells) - len(gaps)} ready")
