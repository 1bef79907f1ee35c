"""Sizes as a picture: an SVG with three bars for each distribution, which any browser and any forge shows."""

from __future__ import annotations

from scripts.files import format_size
from scripts.sizes.measure import CellSizes, DistributionSize
from scripts.text import for_markup

_SHOWN = 12
_LABEL, _BAR, _VALUE = 190, 520, 110  # widths in pixels
_HEIGHT, _GAP, _TOP = 11, 9, 58
_SERIES = (
    ("naive", "#b8bec6", "upstream's wheels"),
    ("whole", "#6f9fd8", "ours, not slimmed"),
    ("ours", "#2f9e62", "ours"),
)


def draw_sizes(sizes: CellSizes) -> str:
    """The compressed size of the largest distributions, of the others together, and of all, as an SVG document."""
    rows = list(sizes.distributions[:_SHOWN])
    if rest := sizes.distributions[_SHOWN:]:
        rows.append(_merge(f"{len(rest)} others", rest))
    longest = max((size.compressed for row in rows for size in (row.naive, row.whole, row.ours)), default=0) or 1
    block = len(_SERIES) * _HEIGHT + _GAP
    width, height = _LABEL + _BAR + _VALUE, _TOP + len(rows) * block + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="14">{for_markup(_title(sizes))}</text>',
    ]
    for number, (_, colour, name) in enumerate(_SERIES):
        left = 10 + number * 170
        parts.append(f'<rect x="{left}" y="32" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{left + 16}" y="42">{for_markup(name)}</text>')
    for number, row in enumerate(rows):
        top = _TOP + number * block
        parts.append(f'<text x="{_LABEL - 8}" y="{top + 20}" text-anchor="end">{for_markup(row.name)}</text>')
        for offset, (field, colour, _) in enumerate(_SERIES):
            size = getattr(row, field).compressed
            y, length = top + offset * _HEIGHT, round(_BAR * size / longest, 1)
            parts.append(f'<rect x="{_LABEL}" y="{y}" width="{length}" height="{_HEIGHT - 1}" fill="{colour}"/>')
            parts.append(f'<text x="{_LABEL + length + 5}" y="{y + 9}" font-size="9">{format_size(size)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _title(sizes: CellSizes) -> str:
    total = sizes.total
    figures = (format_size(size.compressed) for size in (total.naive, total.whole, total.ours))
    return f"{sizes.cell}: compressed bytes by distribution ({' → '.join(figures)})"


def _merge(name: str, rows: tuple[DistributionSize, ...]) -> DistributionSize:
    total = CellSizes("", 0, rows, 0, 0).total
    return DistributionSize(name, total.naive, total.whole, total.ours)
