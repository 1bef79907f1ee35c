"""Cells: as run, as judged, as built twice. CI's step summary gets the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.console import show
from scripts.feed import RETIRED, Entry
from scripts.files import format_size
from scripts.pipeline import CellReport, CellVerdict
from scripts.report.table import append_step_summary, print_table
from scripts.reproduce import Reproduction

_SHOWN = 40  # differing files listed for each image


def show_cells(reports: Sequence[CellReport]) -> None:
    """The summary of a run, the reasons for whatever was not accepted, and the tags that were set."""
    header = ["cell", "build", "audit", "smoke", "verdict", "digest", "size", "time"]
    rows = [
        [
            row.cell,
            row.build,
            row.audit,
            row.smoke,
            row.verdict,
            row.digest[:19] or "–",
            format_size(row.size) if row.size else "–",
            f"{row.seconds:.1f} s",
        ]
        for row in reports
    ]
    print_table(header, rows)
    append_step_summary(header, rows)
    for row in reports:
        for problem in row.problems:
            show(*problem.lines(f"{row.cell}: "))
        if row.tag:
            show(f"{row.tag} is {row.digest}")


def show_verdicts(rows: Sequence[CellVerdict], retired: Mapping[str, Entry]) -> None:
    """The verdicts, with every reason that one is not `accepted`, and why a cell was taken out of service."""
    said = {row.cell: f"{row.verdict}, {RETIRED}" if row.cell in retired else str(row.verdict) for row in rows}
    print_table(["cell", "verdict", "digest"], [[row.cell, said[row.cell], row.digest or "–"] for row in rows])
    for row in rows:
        if entry := retired.get(row.cell):
            show(f"{row.cell}: {RETIRED} on {entry.finished}: {'; '.join(entry.reasons)}")
        for reason in row.reasons:
            show(f"{row.cell}: {reason}")


def show_reproductions(rows: Sequence[Reproduction]) -> None:
    """For each image `identical`, or the files that differ."""
    table = [[row.name, "DIFFERENT" if row.differences else "identical", row.first, row.second] for row in rows]
    print_table(["image", "second build", "first digest", "second digest"], table)
    for row in rows:
        for line in row.differences[:_SHOWN]:
            show(f"{row.name}: {line}")
        if len(row.differences) > _SHOWN:
            show(f"{row.name}: … and {len(row.differences) - _SHOWN} more")
