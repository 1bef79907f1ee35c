"""A section of a comparison as a picture: a bar for each engine and row, with a line from its least to its largest run.

Colours are the page's, by class, so that they follow its light or dark scheme.
"""

from __future__ import annotations

from scripts.compare.figures import Figure, Missing
from scripts.compare.rows import Row, Section
from scripts.compare.types import Comparison
from scripts.compare.words import format_number, shorten
from scripts.text import for_markup

SERIES = 4  # colours; further columns take them again
_LABEL, _BAR, _VALUE = 300, 420, 240  # widths in pixels
_HEIGHT, _GAP, _TOP = 18, 12, 34
_LETTER = 8  # pixels of a legend's letter, at most as a rule
_LONGEST = 44  # characters of a reason beside a bar that is not there


def draw_section(comparison: Comparison, section: Section) -> list[str]:
    """An SVG document for each unit that the section has figures in; none where it has no figure."""
    found = {row: [column.find(row) for column in comparison.columns] for row in section.rows}
    units = dict.fromkeys(each.unit for figures in found.values() for each in figures if isinstance(each, Figure))
    return [_draw(comparison, section.title, unit, _of_unit(found, unit)) for unit in units]


def _of_unit(found: dict[Row, list[Figure | Missing]], unit: str) -> dict[Row, list[Figure | Missing]]:
    """The rows that have a figure in a unit; what is missing of them stays."""
    return {
        row: figures
        for row, figures in found.items()
        if any(isinstance(each, Figure) and each.unit == unit for each in figures)
    }


def _draw(comparison: Comparison, title: str, unit: str, found: dict[Row, list[Figure | Missing]]) -> str:
    figures = [each for row in found.values() for each in row if isinstance(each, Figure)]
    longest = max((each.spread[1] for each in figures), default=0) or 1
    block = len(comparison.columns) * _HEIGHT + _GAP
    width, height = _LABEL + _BAR + _VALUE, _TOP + len(found) * block
    name = for_markup(f"{title}, {unit}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{name}">',
        *_legend(comparison, figures[0].better),
    ]
    for number, (row, places) in enumerate(found.items()):
        top = _TOP + number * block
        middle = top + block / 2
        parts.append(
            f'<text class="label" x="{_LABEL - 10}" y="{middle}" text-anchor="end">{for_markup(row.title)}</text>'
        )
        for offset, each in enumerate(places):
            parts += _bar(each, offset, top + offset * _HEIGHT, longest)
    return "\n".join([*parts, "</svg>"])


def _legend(comparison: Comparison, better: str) -> list[str]:
    parts = []
    left = _LABEL
    for number, column in enumerate(comparison.columns):
        parts.append(f'<rect class="s{number % SERIES}" x="{left}" y="6" width="11" height="11"/>')
        parts.append(f'<text x="{left + 16}" y="16">{for_markup(column.title)}</text>')
        left += 16 + len(column.title) * _LETTER + 2 * _GAP
    return [*parts, f'<text class="quiet" x="10" y="16">{for_markup(better)} is better</text>']


def _bar(figure: Figure | Missing, series: int, top: float, longest: float) -> list[str]:
    baseline = top + _HEIGHT - 6
    if isinstance(figure, Missing):
        reason = shorten(figure)
        short = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} …"
        return [f'<text class="missing" x="{_LABEL + 4}" y="{baseline}">{for_markup(short)}</text>']
    length, least, largest = (round(_BAR * value / longest, 1) for value in (figure.value, *figure.spread))
    middle = top + _HEIGHT / 2 - 1
    end = _LABEL + max(length, largest) + 8
    text = f"{format_number(figure.value)} {figure.unit}"
    return [
        f'<rect class="s{series % SERIES}" x="{_LABEL}" y="{top}" width="{length}" height="{_HEIGHT - 3}"/>',
        f'<line class="spread" x1="{_LABEL + least}" x2="{_LABEL + largest}" y1="{middle}" y2="{middle}"/>',
        f'<text x="{end}" y="{baseline}">{for_markup(text)}</text>',
    ]
