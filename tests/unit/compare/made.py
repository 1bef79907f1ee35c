"""Evidence and comparisons for tests to read and to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.compare.figures import Missing, find_figure
from scripts.compare.rows import Row, Section
from scripts.compare.types import Column, Comparison
from scripts.model import Outcome, Result
from scripts.smoke.smoke import Evidence
from tests.unit.builders import RTX

DIGEST = "sha256:" + "d" * 64
HOST = {"cpu": "8 × A processor", "gpu": "RTX 5090", "driver": "580.95.05"}
ENTRY: dict[str, Any] = {"name": "ttft", "value": 12.0, "unit": "ms", "better": "lower", "runs": [11.0, 12.0, 15.0]}
ENDED = Result("container", Outcome.PASSED, "ended by itself with exit code 0")
ROW = Row("8 in flight", "load", "at-8", "ttft")
OTHER = Row("32 in flight", "load", "at-32", "ttft")
SECTION = Section("Time to the first token", "512 tokens in", (ROW, OTHER))


def make_evidence(*results: Result, host: Mapping[str, str] = HOST, finished: str = "2026-01-01") -> Evidence:
    return Evidence("load", "asked", DIGEST, results, 1.0, finished, dict(host))


def make_check(name: str, command: str, **entry: Any) -> Result:
    return Result(name, Outcome.PASSED, "", {"command": command, "figures": [ENTRY | entry]})


def make_column(cell: str, title: str, *results: Result, verdict: str = "accepted") -> Column:
    """A column of what its results say of the part `load`, which was not measured where there are none."""
    evidence = make_evidence(*results)
    found = {
        row.name: find_figure(evidence, row.check, row.figure) if results else Missing("not measured yet")
        for row in SECTION.rows
    }
    return Column(cell, title, DIGEST, verdict, found)


def make_comparison(*columns: Column, absent: Mapping[str, str] | None = None) -> Comparison:
    return Comparison("5090", RTX.name, 32, "RTX 5090, driver 580.95.05", HOST, columns, absent or {}, (SECTION,))
