"""What a registry may lose, and why the rest stays."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.console import note
from scripts.files import format_size
from scripts.garbage import Garbage
from scripts.report.table import print_table

HEADER = ["repository", "digest", "cells", "last seen", "last verdict", "manifests", "size"]


def show_garbage(found: Sequence[Garbage]) -> None:
    """A row for each candidate that may go; below, how many stay and why, and the sum."""
    rows = [
        [
            each.repository.path,
            leftover.digest,
            ", ".join(leftover.cells),
            leftover.last.finished[:10],
            leftover.last.said,
            str(1 + len(leftover.attached) + bool(leftover.index)),
            format_size(leftover.size),
        ]
        for each in found
        for leftover in each.leftovers
    ]
    if rows:
        print_table(HEADER, rows)
    for each in found:
        for why, count in each.kept.items():
            note(f"{each.repository}: {count} stay: {why}")
    size = sum(leftover.size for each in found for leftover in each.leftovers)
    note(f"{len(rows)} candidates may go, {format_size(size)} that nothing else in their repositories needs")
