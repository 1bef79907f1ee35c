"""Figures out of evidence: a number with its runs and its command, or the reason why there is none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from scripts.model import Result
from scripts.smoke.smoke import Evidence
from scripts.smoke.trial import CONTAINER, PROTOCOL
from scripts.smoke.watch import WATCHED


@dataclass(frozen=True)
class Figure:
    """A number: the median of its runs, which of more or less is better (`higher`, `lower`), and how it came about."""

    value: float
    unit: str
    better: str
    runs: tuple[float, ...]
    command: str

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the largest of the runs."""
        return min(self.runs), max(self.runs)


@dataclass(frozen=True)
class Missing:
    """Why there is no number; `failed` where the engine was asked for it."""

    reason: str
    failed: bool = False


def find_figure(evidence: Evidence, check: str, name: str) -> Figure | Missing:
    """One figure of a check. What failed gives none, nor does anything in a container that did not end well."""
    watched = next((result for result in evidence.results if result.check == WATCHED), None)
    if watched and not watched.passed:
        return Missing(_reason(watched, ""))
    ended = next((result for result in evidence.results if result.check == CONTAINER), None)
    if ended is None or not ended.passed:
        return Missing(_reason(ended, "the evidence does not say how the container ended"), failed=True)
    if strange := next((result for result in evidence.results if result.check == PROTOCOL), None):
        return Missing(_reason(strange, ""), failed=True)
    result = next((result for result in evidence.results if result.check == check), None)
    if result is None or not result.passed:
        return Missing(_reason(result, "the check gave no result"), failed=True)
    entries = result.measured.get("figures")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return _read(entry, str(result.measured.get("command", "")))
    return Missing(f"the check gave no figure {name}", failed=True)


def count_runs(evidence: Evidence) -> int:
    """How often the evidence's checks measured: the least, or 0 where one does not say, or there is none."""
    ours = (CONTAINER, WATCHED)
    counts = [result.measured.get("runs", 0) for result in evidence.results if result.check not in ours]
    return min((count if isinstance(count, int) else 0 for count in counts), default=0)


def add_runs(earlier: Sequence[Result], later: Sequence[Result]) -> tuple[Result, ...]:
    """The later results, with figures over the runs of both; what failed later has failed."""
    known = {result.check: result.measured for result in earlier}
    return tuple(replace(each, measured=_add(known.get(each.check, {}), each.measured)) for each in later)


def _add(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    try:
        before = {entry["name"]: entry["runs"] for entry in earlier["figures"]}
        figures = [_join(before.get(entry["name"], []), entry) for entry in later["figures"]]
        return later | {"figures": figures, "runs": earlier["runs"] + later["runs"]}
    except (KeyError, TypeError, ValueError):  # what is no figure is told as one is looked for
        return later


def _join(runs: list[float], entry: dict[str, Any]) -> dict[str, Any]:
    every = [*runs, *entry["runs"]]
    return entry | {"runs": every, "value": statistics.median(every)}


def _read(entry: dict[str, Any], command: str) -> Figure | Missing:
    runs, name = entry.get("runs"), str(entry.get("name"))
    if not isinstance(runs, list) or not runs or not all(map(_is_number, (*runs, entry.get("value")))):
        return Missing(f"{name} is not a number: {entry.get('value')}, of runs {runs}", failed=True)
    return Figure(entry["value"], str(entry.get("unit", "")), str(entry.get("better", "")), tuple(runs), command)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _reason(result: Result | None, otherwise: str) -> str:
    return result.detail or str(result.outcome) if result else otherwise
