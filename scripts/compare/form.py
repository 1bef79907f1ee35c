"""A comparison as JSON and back: every number as `name, value, unit, better`, every other place with its reason."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scripts.compare.figures import Figure, Missing
from scripts.compare.rows import Row, Section
from scripts.compare.types import Column, Comparison
from scripts.smoke.parse import expect_digest, expect_number, expect_table, expect_text

VERSION = 2
_BETTER = ("higher", "lower")


def render_data(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values."""
    return {
        "version": VERSION,
        "target": comparison.target,
        "place": comparison.place,
        "limit_gib": comparison.limit_gib,
        "machine": comparison.machine,
        "host": dict(comparison.host),
        "options": list(comparison.options),
        "engines": [
            {"cell": each.cell, "title": each.title, "digest": each.digest, "verdict": each.verdict}
            for each in comparison.columns
        ],
        "absent": dict(comparison.absent),
        "sections": [
            {"title": each.title, "text": each.text, "rows": [asdict(row) for row in each.rows]}
            for each in comparison.sections
        ],
        "figures": [
            {"cell": column.cell, "name": row.name} | _describe(found) for _, row, column, found in comparison.numbers
        ],
    }


def parse_comparison(data: Any) -> Comparison:
    """The comparison that such JSON values say. Raises ValueError, KeyError or TypeError for what is none."""
    if data["version"] != VERSION:
        raise ValueError(f"a comparison of version {data['version']!r}")
    sections = tuple(
        Section(expect_text(each["title"]), expect_text(each["text"]), tuple(map(_parse_row, each["rows"])))
        for each in data["sections"]
    )
    found = {(expect_text(each["cell"]), expect_text(each["name"])): _parse_figure(each) for each in data["figures"]}
    names = [row.name for section in sections for row in section.rows]
    columns = tuple(
        Column(
            expect_text(each["cell"]),
            expect_text(each["title"]),
            expect_digest(each["digest"]) if each["digest"] else "",
            expect_text(each["verdict"]),
            {name: found[each["cell"], name] for name in names},
        )
        for each in data["engines"]
    )
    if len({column.cell for column in columns}) != len(columns):
        raise ValueError("one cell has two columns")
    return Comparison(
        expect_text(data["target"]),
        expect_text(data["place"]),
        int(expect_number(data["limit_gib"])),
        expect_text(data["machine"]),
        _parse_texts(data["host"]),
        columns,
        _parse_texts(data["absent"]),
        sections,
        tuple(map(expect_text, data["options"])),
    )


def _describe(found: Figure | Missing) -> dict[str, Any]:
    if isinstance(found, Missing):
        return {"value": None, "reason": found.reason, "failed": found.failed}
    return asdict(found) | {"runs": list(found.runs)}


def _parse_row(data: Any) -> Row:
    return Row(*(expect_text(data[name]) for name in ("title", "part", "check", "figure")))


def _parse_figure(data: Any) -> Figure | Missing:
    if data["value"] is None:
        return Missing(expect_text(data["reason"]), data["failed"] is True)
    runs = tuple(map(expect_number, data["runs"]))
    if not runs or data["better"] not in _BETTER:
        raise ValueError("a figure without runs, or one of which it is not known what is better")
    return Figure(
        expect_number(data["value"]),
        expect_text(data["unit"]),
        data["better"],
        runs,
        expect_text(data["command"]),
    )


def _parse_texts(data: Any) -> dict[str, str]:
    return {expect_text(key): expect_text(value) for key, value in expect_table(data).items()}
