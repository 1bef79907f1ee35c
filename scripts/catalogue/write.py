"""The catalogue as a folder of files, which any web server or browser shows as it is."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.catalogue.cellpage import render_cell
from scripts.catalogue.overview import render_feed_page, render_overview
from scripts.catalogue.parts import GENERATOR, address_of, render_comparison
from scripts.catalogue.types import Catalogue
from scripts.compare.page import BODY_STYLE
from scripts.errors import ConfigError
from scripts.files import write_atomic

_HERE = Path(__file__).parent
_SHARED = ("style.css", "script.js")
_OURS = ("cells/*.html", "sbom/*.json", "compare/*.html")


def write_catalogue(catalogue: Catalogue, output: Path) -> list[Path]:
    """Write every page; those of cells that are no more go. The files that are there now, the first page first.

    Raises ConfigError for a folder that holds something else.
    """
    check_output(output)
    pages = {"index.html": render_overview(catalogue), "feed.html": render_feed_page(catalogue)}
    pages |= {f"cells/{page.cell.id}.html": render_cell(page, catalogue.registry) for page in catalogue.pages}
    pages |= {f"sbom/{page.cell.id}.json": json.dumps(page.contents, indent=1) for page in catalogue.pages}
    pages |= {address_of(each): render_comparison(each) for each in catalogue.comparisons}
    pages |= {name: (_HERE / name).read_text("utf-8") for name in _SHARED}
    pages["style.css"] += BODY_STYLE
    for name in reversed(pages):  # the first page last: it never leads to one that is not there yet
        write_atomic(output / name, pages[name].encode())
    for path in (path for pattern in _OURS for path in output.glob(pattern)):
        if path.relative_to(output).as_posix() not in pages:
            path.unlink()
    return [output / name for name in pages]


def check_output(output: Path) -> None:
    """Refuse a place where somebody else's files are: an empty folder will do, and an earlier catalogue."""
    if output.exists() and not output.is_dir():
        raise ConfigError("is not a folder", str(output), "give a folder for the catalogue's files")
    index = output / "index.html"
    ours = index.is_file() and GENERATOR in index.read_text("utf-8", errors="replace")
    if output.is_dir() and any(output.iterdir()) and not ours:
        raise ConfigError("holds something that is no catalogue", str(output), "give an empty or a new folder")
