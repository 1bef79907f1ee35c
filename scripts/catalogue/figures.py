"""What evidence measured, picked out for people: agreement with the reference, times, load, kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.catalogue.gather import is_todays
from scripts.catalogue.types import Build
from scripts.files import format_size
from scripts.model import Outcome
from scripts.pipeline import Job
from scripts.smoke.smoke import Evidence, make_environment

_LOAD = {
    "requests": "requests",
    "at_once": "at once",
    "p50_s": "median latency, s",
    "p99_s": "99th percentile, s",
    "same": "answers like those of alone",
    "near": "answers that differ within the bounds",
    "different": "answers that differ beyond them",
    "memory_mib": "memory, MiB",
    "gpu_memory_mib": "the GPU's memory, MiB",
}


@dataclass(frozen=True)
class Agreement:
    """The largest and the mean difference from the reference, in nats, and what is accepted of each; None: unknown."""

    largest: float | None = None
    mean: float | None = None
    accepted: float | None = None
    accepted_mean: float | None = None


@dataclass(frozen=True)
class Line:
    """One scenario in a few words. `ended` is `passed`, `failed`, or what else kept it from passing.

    `required` is False for one that decides nothing, or that the suite has no longer, `todays` for one whose question
    is another by now. `start_s` is how long the server may take to become healthy; `caches` are the bytes that were
    kept before it started and after it ended. None: unknown.
    """

    name: str
    ended: str
    passed: int
    total: int
    agreement: Agreement
    healthy_s: float | None
    seconds: float
    required: bool
    todays: bool
    start_s: float | None = None
    caches: tuple[float | None, float | None] = (None, None)


def list_lines(job: Job, build: Build) -> list[Line]:
    """A line for each scenario that there is evidence of, those of today's suite first and in its order."""
    order = {scenario.name: number for number, scenario in enumerate(job.scenarios)}
    chosen = sorted(build.evidence, key=lambda each: (order.get(each.scenario, len(order)), each.scenario))
    return [_describe(job, build, each) for each in chosen]


def _describe(job: Job, build: Build, evidence: Evidence) -> Line:
    outcomes = [result.outcome for result in evidence.results]
    worst = next((each for each in (Outcome.FAILED, Outcome.ERROR, Outcome.SKIPPED) if each in outcomes), None)
    scenario = next((each for each in job.scenarios if each.name == evidence.scenario), None)
    todays = is_todays(job, build, evidence.scenario)
    bounds = make_environment(job.cell, scenario) if scenario and todays else {}
    health = next((result.measured for result in evidence.results if result.check == "health"), {})
    return Line(
        evidence.scenario,
        worst.value if worst else "passed" if outcomes else "nothing was checked",
        sum(each is Outcome.PASSED for each in outcomes),
        len(outcomes),
        find_agreement(evidence, bounds),
        _number(health.get("seconds")),
        evidence.seconds,
        required=scenario is not None and scenario.required,
        todays=todays,
        start_s=_number(health.get("start_s")),
        caches=(find_kept(evidence, "health"), find_kept(evidence, "shutdown")),
    )


def find_kept(evidence: Evidence, check: str) -> float | None:
    """How many bytes the caches held at a check, if it says so."""
    measured = next((result.measured for result in evidence.results if result.check == check), {})
    figures = measured.get("figures")
    found = [each for each in figures if isinstance(each, dict)] if isinstance(figures, list) else []
    return next((_number(each.get("value")) for each in found if each.get("name") == "cache size"), None)


def find_agreement(evidence: Evidence, bounds: Mapping[str, str]) -> Agreement:
    """The worst that a scenario saw, against its own bounds where it wrote them down, else against the suite's."""
    tables = [table for result in evidence.results for table in _tables(result.measured)]

    def worst(key: str) -> float | None:
        return max((number for table in tables if (number := _number(table.get(key))) is not None), default=None)

    def bound(key: str, variable: str) -> float | None:
        own = worst(key)
        return own if own is not None else float(bounds[variable]) if variable in bounds else None

    return Agreement(
        worst("max_difference_nats"),
        worst("mean_difference_nats"),
        bound("tolerance_nats", "HALLMARK_TOLERANCE"),
        bound("mean_tolerance_nats", "HALLMARK_MEAN_TOLERANCE"),
    )


def list_kernels(evidence: Evidence) -> dict[str, int]:
    """How often each kernel ran, by the server's own profile, the most frequent first."""
    found: dict[str, int] = {}
    for result in evidence.results:
        kernels = result.measured.get("kernels")
        if isinstance(kernels, dict):
            found |= {str(name): int(count) for name, count in kernels.items() if _number(count) is not None}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def list_load(evidence: Evidence) -> dict[str, str]:
    """The figures of many requests at once, by what they are of; none where the scenario had no load."""
    for result in evidence.results:
        if "p99_s" in result.measured:
            return {text: _spell(result.measured[key]) for key, text in _LOAD.items() if key in result.measured}
    return {}


def format_difference(found: float | None, accepted: float | None) -> str:
    """`0.0149 of 0.05`: three digits that count, and what is accepted where that is known."""
    if found is None:
        return "–"
    return f"{found:.3g}" if accepted is None else f"{found:.3g} of {accepted:g}"


def format_start(line: Line) -> str:
    """`145 of 420 s`: what a start took, and what it may take where that is known."""
    if line.healthy_s is None:
        return "–"
    return f"{line.healthy_s:.0f} s" if line.start_s is None else f"{line.healthy_s:.0f} of {line.start_s:.0f} s"


def format_caches(line: Line) -> str:
    """`0 B → 12 MB`: what the caches held before a start, and after."""
    if line.caches == (None, None):
        return "–"
    return " → ".join("–" if size is None else format_size(int(size)) for size in line.caches)


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    """A table and the tables in it."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _tables(inner)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _spell(value: Any) -> str:
    if isinstance(value, list):
        return " → ".join(map(_spell, value))
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:,.1f}"
        if isinstance(value, float) and value >= 100
        else str(value)
    )
