"""A comparison of engines, in short: the report's files say more."""

from __future__ import annotations

from scripts.compare.figures import Figure, Missing
from scripts.compare.types import Comparison
from scripts.compare.words import format_number, list_absent, shorten
from scripts.console import show
from scripts.report.table import append_step_summary, print_table


def show_comparison(comparison: Comparison) -> None:
    """A row for each figure, a column for each engine."""
    header = ["", "", *(column.cell for column in comparison.columns)]
    rows = [
        [section.title, row.title, *(_cell(column.find(row)) for column in comparison.columns)]
        for section in comparison.sections
        for row in section.rows
    ]
    print_table(header, rows)
    append_step_summary(header, rows)
    for line in list_absent(comparison):
        show(f"not compared: {line}")


def _cell(found: Figure | Missing) -> str:
    return shorten(found)[:60] if isinstance(found, Missing) else f"{format_number(found.value)} {found.unit}"
