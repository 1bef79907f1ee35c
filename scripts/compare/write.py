"""A comparison's files: for people as Markdown and as a page, for machines as JSON."""

from __future__ import annotations

from pathlib import Path

from scripts.compare.form import render_data
from scripts.compare.markdown import render_markdown
from scripts.compare.page import render_page
from scripts.compare.types import Comparison
from scripts.files import write_atomic, write_json


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the report in its three forms; returns the files."""
    name = comparison.target
    files = [folder / f"{name}.md", folder / f"{name}.html", folder / f"{name}.json"]
    write_atomic(files[0], render_markdown(comparison).encode())
    write_atomic(files[1], render_page(comparison).encode())
    write_json(files[2], render_data(comparison))
    return files
