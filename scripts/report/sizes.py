"""Sizes, by distribution."""

from __future__ import annotations

from scripts.console import show
from scripts.files import format_size
from scripts.report.table import print_table
from scripts.sizes.measure import CellSizes, DistributionSize

_SHOWN = 25


def show_sizes(sizes: CellSizes) -> None:
    """A cell's distributions, largest first; compressed and unpacked; and what images of them came to."""
    header = ["distribution", "upstream", "unpacked", "ours, not slimmed", "ours", "unpacked", "ratio"]
    total = sizes.total
    shown = sizes.distributions[:_SHOWN]
    rows = [_size_row(row) for row in (*shown, total)]
    if len(sizes.distributions) > len(shown):
        rows.insert(-1, [f"… {len(sizes.distributions) - len(shown)} smaller ones", *[""] * 6])
    print_table(header, rows)
    show(f"base: {format_size(sizes.base) if sizes.base else 'not built'}")
    for name, size in (("not slimmed", sizes.built_whole), ("as it is built", sizes.built)):
        ratio = f"{size / (total.naive.compressed + sizes.base):.2f} of upstream's wheels on the same base"
        show(f"{sizes.cell}, {name}: {f'{format_size(size)}, {ratio}' if size else 'not built here'}")


def _size_row(row: DistributionSize) -> list[str]:
    sizes = (row.naive.compressed, row.naive.unpacked, row.whole.compressed, row.ours.compressed, row.ours.unpacked)
    ratio = f"{row.ours.compressed / row.naive.compressed:.2f}" if row.naive.compressed else "–"
    return [row.name, *(format_size(size) if size else "–" for size in sizes), ratio]
