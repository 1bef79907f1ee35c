"""A table for people."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # A line that runs over the terminal's edge is better than a digest cut short, and a pipe has no edge at all.
    Console(highlight=False, markup=False, emoji=False, width=1000).print(table)


def append_step_summary(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The same table in CI's summary, where there is one."""
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    lines = [header, ["---"] * len(header), *rows]
    with Path(place).open("a", encoding="utf-8") as stream:
        stream.writelines("| " + " | ".join(line) + " |\n" for line in lines)
