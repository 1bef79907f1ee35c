"""What is picked out of evidence: differences against what is accepted, times, load and kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scripts.catalogue.figures import (
    Agreement,
    find_agreement,
    format_caches,
    format_difference,
    format_start,
    list_kernels,
    list_lines,
    list_load,
)
from scripts.smoke.parse import parse_evidence
from tests.unit.catalogue.made import CPU, Checkout, fail, measure

LOGPROBS = {
    "max_difference_nats": 0.0149,
    "mean_difference_nats": 0.0034,
    "tolerance_nats": 0.05,
    "mean_tolerance_nats": 0.008,
}
SIZE = {"name": "cache size", "value": 12_000_000, "unit": "B", "better": "lower"}
SIZES = {"2_tokens": {"max_difference_nats": 0.02, "mean_difference_nats": 0.001}, "seconds": 4.0}


def test_the_worst_difference_counts_wherever_it_was_seen(checkout: Checkout) -> None:
    data = measure(measure(checkout.evidence(CPU), "load", LOGPROBS), "serve", SIZES)
    assert find_agreement(parse_evidence(data), {}) == Agreement(0.02, 0.0034, 0.05, 0.008)


def test_without_bounds_of_its_own_those_of_the_suite_count(checkout: Checkout) -> None:
    evidence = parse_evidence(measure(checkout.evidence(CPU), "serve", SIZES))
    bounds = {"HALLMARK_TOLERANCE": "0.05", "HALLMARK_MEAN_TOLERANCE": "0.008"}
    assert find_agreement(evidence, bounds) == Agreement(0.02, 0.001, 0.05, 0.008)
    assert find_agreement(evidence, {}) == Agreement(0.02, 0.001)


@pytest.mark.parametrize("value", ["0.1", None, [1], True, {}])
def test_what_is_no_number_is_no_difference(value: Any, checkout: Checkout) -> None:
    data = measure(checkout.evidence(CPU), "load", {"max_difference_nats": value})
    assert find_agreement(parse_evidence(data), {}) == Agreement()


def test_a_difference_says_what_is_accepted() -> None:
    assert format_difference(0.014874, 0.05) == "0.0149 of 0.05"
    assert format_difference(0.014874, None) == "0.0149"
    assert format_difference(None, 0.05) == "–"


@pytest.mark.parametrize("outcome", ["failed", "error", "skipped"])
def test_a_scenario_passed_only_where_every_check_did(outcome: str, checkout: Checkout) -> None:
    data = fail(checkout.evidence(CPU), "serve")
    data["results"][1]["outcome"] = outcome
    checkout.keep(CPU, data)
    page = checkout.page(CPU)
    assert page.shown
    [line] = list_lines(page.job, page.shown)
    assert (line.ended, line.passed, line.total, line.todays) == (outcome, 2, 3, True)


def test_a_scenario_without_a_check_did_not_pass(checkout: Checkout) -> None:
    checkout.keep(CPU, checkout.evidence(CPU, results=[]))
    page = checkout.page(CPU)
    assert page.shown
    assert [line.ended for line in list_lines(page.job, page.shown)] == ["nothing was checked"]


def test_a_scenario_that_the_suite_no_longer_has_decides_nothing(checkout: Checkout) -> None:
    checkout.keep(CPU, checkout.evidence(CPU))
    page = checkout.page(CPU)
    assert page.shown
    dropped = parse_evidence(fail(checkout.evidence(CPU, scenario="dropped"), "serve"))
    lines = list_lines(page.job, replace(page.shown, evidence=(*page.shown.evidence, dropped)))
    assert [(line.name, line.required, line.todays) for line in lines] == [
        ("default", True, True),
        ("dropped", False, False),
    ]


def test_a_start_has_its_time(checkout: Checkout) -> None:
    data = checkout.evidence(CPU)
    data["results"].append({"check": "health", "outcome": "passed", "detail": "", "measured": {"seconds": 31.2}})
    checkout.keep(CPU, data)
    page = checkout.page(CPU)
    assert page.shown
    assert [line.healthy_s for line in list_lines(page.job, page.shown)] == [31.2]


@pytest.mark.parametrize(
    ("health", "shutdown", "started", "caches"),
    [
        ({"seconds": 145.3, "start_s": 420.0}, None, "145 of 420 s", "–"),
        (
            {"seconds": 145.3, "start_s": 420.0, "figures": [SIZE | {"value": 0}]},
            [SIZE],
            "145 of 420 s",
            "0 B → 12.0 MB",
        ),
        ({"seconds": 31.2, "figures": [SIZE]}, [{"name": "x"}, 3], "31 s", "12.0 MB → –"),
        ({"figures": "no"}, [SIZE | {"value": "no"}], "–", "–"),
    ],
)
def test_a_start_has_its_bound_and_what_the_caches_held(
    health: dict[str, Any], shutdown: list[Any] | None, started: str, caches: str, checkout: Checkout
) -> None:
    data = checkout.evidence(CPU)
    for check, measured in (("health", health), ("shutdown", {"figures": shutdown})):
        data["results"].append({"check": check, "outcome": "passed", "detail": "", "measured": measured})
    checkout.keep(CPU, data)
    page = checkout.page(CPU)
    assert page.shown
    [line] = list_lines(page.job, page.shown)
    assert (format_start(line), format_caches(line)) == (started, caches)


def test_kernels_come_the_most_frequent_first(checkout: Checkout) -> None:
    data = measure(checkout.evidence(CPU), "serve", {"kernels": {"a": 1, "b": 30, "c": "x"}})
    assert list_kernels(parse_evidence(data)) == {"b": 30, "a": 1}
    assert list_kernels(parse_evidence(measure(data, "serve", {"kernels": ["a"]}))) == {}


def test_load_is_told_in_words(checkout: Checkout) -> None:
    measured = {"requests": 18559, "at_once": 64, "p50_s": 0.2, "p99_s": 0.3, "memory_mib": [2372.44, 2370.8]}
    found = list_load(parse_evidence(measure(checkout.evidence(CPU), "load", measured)))
    assert found["requests"] == "18,559" and found["99th percentile, s"] == "0.3"
    assert found["memory, MiB"] == "2,372.4 → 2,370.8"
    assert list_load(parse_evidence(checkout.evidence(CPU))) == {}
