"""A table for people: on standard output, and in CI's summary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len

from scripts.console import show
from scripts.text import for_markdown, one_line

_LONGEST = 400  # characters of a cell: a digest has 71, and a library's path can be long
_BETWEEN = "  "


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output.

    A line that runs over the terminal's edge is better than a digest cut short, and a pipe has no edge at all.
    """
    cells = [[one_line(cell, _LONGEST) for cell in row] for row in (header, *rows)]
    widths = [[_width(cell) for cell in row] for row in cells]
    columns = [max(column) for column in zip(*widths, strict=True)]
    show(*(_BETWEEN.join(map(_pad, row, taken, columns)).rstrip() for row, taken in zip(cells, widths, strict=True)))


def _pad(cell: str, width: int, column: int) -> str:
    return cell + " " * (column - width)


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def append_step_summary(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The same table in CI's summary, where there is one."""
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    lines = [[for_markdown(cell) for cell in row] for row in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    with Path(place).open("a", encoding="utf-8") as stream:
        stream.writelines("| " + " | ".join(line) + " |\n" for line in lines)
