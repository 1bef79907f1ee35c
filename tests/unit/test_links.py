"""Every relative link of the pages that people read leads to a file that is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.builders import REPOSITORY_ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")


def find_broken(page: Path) -> list[str]:
    links = [link for link in _LINK.findall(page.read_text("utf-8")) if "://" not in link and link[0] != "#"]
    return [link for link in links if not (page.parent / link.partition("#")[0]).exists()]


def test_every_relative_link_leads_somewhere() -> None:
    pages = [path for pattern in ("*.md", "docs/**/*.md", "images/*/*.md") for path in REPOSITORY_ROOT.glob(pattern)]
    assert {"README.md", "figures.md"} <= {page.name for page in pages}
    assert {str(page): broken for page in pages if (broken := find_broken(page))} == {}


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").touch()
    page = tmp_path / "page.md"
    page.write_text("[a](there.md#part) [b](gone.md) [c](https://example.com/) [d](#here)")
    assert find_broken(page) == ["gone.md"]
