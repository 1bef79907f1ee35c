"""A comparison's files: for people as Markdown and as a page, for machines as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.compare.figures import Figure, Missing
from scripts.compare.gather import Comparison
from scripts.compare.markdown import render_markdown
from scripts.compare.page import render_page
from scripts.files import write_atomic, write_json

VERSION = 1


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the report in its three forms; returns the files."""
    name = comparison.target.id
    files = [folder / f"{name}.md", folder / f"{name}.html", folder / f"{name}.json"]
    write_atomic(files[0], render_markdown(comparison).encode())
    write_atomic(files[1], render_page(comparison).encode())
    write_json(files[2], render_data(comparison))
    return files


def render_data(comparison: Comparison) -> dict[str, Any]:
    """Every number as `name, value, unit, better`, with its runs and command; every other place with its reason."""
    return {
        "version": VERSION,
        "target": comparison.target.id,
        "limit_gib": comparison.limit_gib,
        "machine": comparison.machine,
        "host": dict(comparison.host),
        "engines": [
            {"cell": each.cell, "title": each.title, "digest": each.digest, "verdict": each.verdict}
            for each in comparison.columns
        ],
        "absent": dict(comparison.absent),
        "figures": [
            {"cell": column.cell, "name": f"{row.part}/{row.check}/{row.name}"} | _describe(found)
            for _, row, column, found in comparison.numbers
        ],
    }


def _describe(found: Figure | Missing) -> dict[str, Any]:
    if isinstance(found, Missing):
        return {"value": None, "reason": found.reason, "failed": found.failed}
    values = asdict(found)
    del values["name"]
    return values | {"runs": list(found.runs)}
