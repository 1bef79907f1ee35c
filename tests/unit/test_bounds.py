"""docs/bounds.md says what the code has: every bound, and its value."""

from __future__ import annotations

import importlib
import re

from tests.unit.builders import REPOSITORY_ROOT

_ROW = re.compile(
    r"\| (?P<what>.+) \| (?P<value>[0-9,]+)(?: (?P<unit>[KMG]iB))? \| `(?P<constant>[\w.]+)` \| (?P<past>.+) \|"
)
_UNITS = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_BOUND = re.compile(r"^_?(?:LARGEST|LONGEST|MOST|MAX|DEEPEST)(?:_[A-Z]+)* = ", re.MULTILINE)
_READERS = ("answers.py", "registry", "engine", "oci", "audit", "gpucode", "slim", "zips.py")  # of what strangers wrote

TEXT = (REPOSITORY_ROOT / "docs/bounds.md").read_text("utf-8")
ROWS = [match for line in TEXT.splitlines() if (match := _ROW.fullmatch(line))]


def test_every_row_is_understood() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("|") and "`" in line]
    assert len(lines) == len(ROWS) > 30


def test_each_bound_has_the_value_that_the_page_says() -> None:
    for row in ROWS:
        module, _, name = row["constant"].rpartition(".")
        value = getattr(importlib.import_module(f"scripts.{module}"), name)
        assert value == int(row["value"].replace(",", "")) * _UNITS[row["unit"]], row["constant"]


def test_no_bound_is_missing_from_the_page() -> None:
    named = {row["constant"] for row in ROWS}
    scripts = REPOSITORY_ROOT / "scripts"
    files = [path for part in _READERS for path in [scripts / part, *(scripts / part).rglob("*.py")] if path.is_file()]
    found = set()
    for path in files:
        module = ".".join(path.relative_to(scripts).with_suffix("").parts)
        found |= {f"{module}.{match[0].split()[0]}" for match in _BOUND.finditer(path.read_text("utf-8"))}
    assert len(found) > 25 and found - named == set()
