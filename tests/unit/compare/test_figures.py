"""Figures out of evidence: what failed, is damaged or is not there gives a reason, and never a number."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.compare.figures import Figure, Missing, add_runs, count_runs, find_figure
from scripts.model import Outcome, Result
from tests.unit.compare.made import ENDED, ENTRY, make_evidence

FOUND = Figure(12.0, "ms", "lower", (11.0, 12.0, 15.0), "serve it")


def check(**measured: Any) -> Result:
    return Result("at-8", Outcome.PASSED, "", {"command": "serve it", "runs": 3, "figures": [ENTRY], **measured})


def test_a_figure_is_its_value_with_its_runs_and_its_command() -> None:
    found = find_figure(make_evidence(check(), ENDED), "at-8", "ttft")
    assert found == FOUND and isinstance(found, Figure) and found.spread == (11.0, 15.0)


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ((Result("at-8", Outcome.FAILED, "the answer stalled", {"figures": [ENTRY]}), ENDED), "the answer stalled"),
        ((Result("at-8", Outcome.SKIPPED, "", {"figures": [ENTRY]}), ENDED), "skipped"),
        ((Result("at-1", Outcome.PASSED, "", {"figures": [ENTRY]}), ENDED), "the check gave no result"),
        ((check(), Result("container", Outcome.FAILED, "killed for memory")), "killed for memory"),
        ((check(), Result("container", Outcome.ERROR, "the engine stopped answering")), "the engine stopped"),
        ((check(),), "does not say how the container ended"),
        ((check(), Result("protocol", Outcome.FAILED, "not a result: x"), ENDED), "not a result: x"),
        ((), "does not say how the container ended"),
        ((check(figures=[]), ENDED), "no figure ttft"),
        ((check(figures=None), ENDED), "no figure ttft"),
        ((check(figures=["ttft"]), ENDED), "no figure ttft"),
        ((check(figures=[ENTRY | {"name": "tpot"}]), ENDED), "no figure ttft"),
    ],
)
def test_what_did_not_pass_gives_a_reason(results: tuple[Result, ...], reason: str) -> None:
    found = find_figure(make_evidence(*results), "at-8", "ttft")
    assert isinstance(found, Missing) and found.failed and reason in found.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"value": None},
        {"value": "12"},
        {"value": True},
        {"value": -1.0},
        {"value": json.loads("NaN")},
        {"value": json.loads("Infinity")},
        {"runs": []},
        {"runs": None},
        {"runs": [11.0, None]},
        {"runs": [json.loads("NaN")]},
    ],
)
def test_what_is_no_number_is_none(changes: dict[str, Any]) -> None:
    found = find_figure(make_evidence(check(figures=[ENTRY | changes]), ENDED), "at-8", "ttft")
    assert isinstance(found, Missing) and found.failed and "is not a number" in found.reason


def test_evidence_has_as_many_runs_as_the_least_of_its_checks() -> None:
    assert count_runs(make_evidence(check(), check(runs=1), ENDED)) == 1
    assert count_runs(make_evidence(check(), Result("serve", Outcome.PASSED), ENDED)) == 0
    assert count_runs(make_evidence(ENDED)) == 0


# --- runs one by one


def test_runs_of_two_containers_are_one_figure() -> None:
    [added] = add_runs([check()], [check(figures=[ENTRY | {"value": 40.0, "runs": [40.0]}], runs=1)])
    assert added.measured["runs"] == 4
    found = find_figure(make_evidence(added, ENDED), "at-8", "ttft")
    assert isinstance(found, Figure) and (found.value, found.runs) == (13.5, (11.0, 12.0, 15.0, 40.0))


@pytest.mark.parametrize("figures", [None, [], ["ttft"], [ENTRY | {"runs": 3}], [ENTRY | {"runs": ["x"]}], [{}]])
def test_what_is_no_figure_is_not_added_and_stays_what_it_is(figures: Any) -> None:
    later = check(figures=figures)
    [added] = add_runs([check()], [later])
    assert added == later or added.measured["figures"] == []
    assert add_runs([], [later]) == (later,)


def test_a_run_that_failed_later_has_failed() -> None:
    failed = Result("at-8", Outcome.FAILED, "the answer stalled", {"runs": 1})
    assert add_runs([check()], [failed]) == (failed,)
