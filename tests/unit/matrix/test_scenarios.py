"""[[scenario]]: what it says, what is wrong with it, and which cells go through it."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.errors import Problem
from scripts.matrix import Absence, Scenario, Scope, UpstreamTest, select_scenarios
from scripts.matrix.read_scenarios import RESERVED, read_scenarios
from scripts.matrix.reader import Table
from scripts.smoke.smoke import make_environment
from tests.unit.builders import CPU, RTX, make_cell

SERVE: dict[str, Any] = {"name": "serve", "checks": ["health", "logprobs"], "timeout_s": 60, "memory_gib": 2}
FULL: dict[str, Any] = SERVE | {
    "name": "float32-eager",
    "model": "llama",
    "dtype": "float32",
    "arguments": ["--enforce-eager"],
    "environment": {"HALLMARK_LOAD_S": "30"},
    "required": False,
    "except": [{"cuda": "cpu", "reason": "is in float32 anyway"}, {"compute": "9.0", "reason": "cannot"}],
}


def read(*tables: dict[str, Any]) -> tuple[tuple[Scenario, ...], list[str]]:
    problems: list[Problem] = []
    items = [Table(item, "image.toml", problems, ("scenario", str(number))) for number, item in enumerate(tables, 1)]
    return read_scenarios(items), [f"{problem.place} {problem.cause}" for problem in problems]


def test_a_scenario_says_what_it_runs_and_the_rest_has_defaults() -> None:
    scenarios, problems = read(SERVE, FULL)
    assert not problems
    absences = (Absence("is in float32 anyway", Scope(cuda="cpu")), Absence("cannot", Scope(compute="9.0")))
    assert scenarios == (
        Scenario("serve", ("health", "logprobs"), 60, 2),
        Scenario(
            "float32-eager",
            ("health", "logprobs"),
            60,
            2,
            "llama",
            "float32",
            ("--enforce-eager",),
            {"HALLMARK_LOAD_S": "30"},
            False,
            absences,
        ),
    )


def test_a_start_may_take_what_the_scenario_says_or_what_is_usual() -> None:
    (usual, own), problems = read(SERVE, SERVE | {"name": "slow", "start_s": 59})
    assert not problems
    told = [make_environment(make_cell(CPU), each)["HALLMARK_START_S"] for each in (usual, own)]
    assert told == ["420", "59"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Serve"}, "[scenario.1.name] `Serve` cannot name a scenario"),
        ({"name": "a/b"}, "`a/b` cannot name a scenario"),
        ({"name": ""}, "must not be empty"),
        ({"checks": []}, "expected a list of strings, with at least one"),
        ({"checks": ["a", "a"]}, "`a` stands twice"),
        ({"timeout_s": 0}, "[scenario.1.timeout_s] must be more than 0"),
        ({"start_s": 0}, "[scenario.1.start_s] a start may take 0 s, and the whole scenario 60 s"),
        ({"start_s": 60}, "[scenario.1.start_s] a start may take 60 s, and the whole scenario 60 s"),
        ({"memory_gib": 0}, "[scenario.1.memory_gib] must be more than 0"),
        ({"dtype": "float16"}, "`float16` is no type to compute in"),
        ({"required": "no"}, "expected"),
        ({"model": 1}, "expected"),
        ({"arguments": "--x"}, "expected"),
        ({"argument": ["--x"]}, "argument"),
        ({"environment": {"HALLMARK_LOAD_S": 30}}, "expected"),
        ({"environment": {"load": "30"}}, "[scenario.1.environment.load] cannot be given"),
        ({"environment": {"HALLMARK_TOLERANCE": "9"}}, "[scenario.1.environment.HALLMARK_TOLERANCE] cannot be given"),
        ({"environment": {"HALLMARK_START_S": "9"}}, "[scenario.1.environment.HALLMARK_START_S] cannot be given"),
        ({"except": [{"reason": "never"}]}, "leaves the scenario out of every cell"),
        ({"except": [{"cuda": "cpu"}]}, "missing key `reason`"),
        ({"except": [{"cuda": "cpu", "reason": "x", "target": "5090"}]}, "target"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: dict[str, Any], said: str) -> None:
    _, problems = read(SERVE | change)
    assert len(problems) == 1 and said in problems[0]


TESTED: dict[str, Any] = SERVE | {"checks": ["upstream"], "tests": [{"file": "kernels/test_a.py", "passes": 3}]}


def test_tests_of_upstreams_are_named_with_how_many_pass() -> None:
    left_out = {"file": "test_b.py", "passes": 1, "without": ["large"], "reason": "needs 80 GB", "marks": ["quick"]}
    [scenario], problems = read(TESTED | {"tests": [*TESTED["tests"], left_out]})
    assert not problems
    assert scenario.tests == (
        UpstreamTest("kernels/test_a.py", 3),
        UpstreamTest("test_b.py", 1, ("large",), "needs 80 GB", ("quick",)),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checks": ["load"]}, "[[scenario.tests]] and the check `upstream`, which runs them, go together"),
        ({"tests": []}, "[[scenario.tests]] and the check `upstream`, which runs them, go together"),
        ({"tests": [{"file": "../x.py", "passes": 1}]}, "`../x.py`: expected a Python file's path"),
        ({"tests": [{"file": "/x.py", "passes": 1}]}, "`/x.py`: expected a Python file's path"),
        ({"tests": [{"file": "kernels", "passes": 1}]}, "`kernels`: expected a Python file's path"),
        ({"tests": [{"file": "x.py", "passes": 0}]}, "must be more than 0: a file of which no test passes"),
        ({"tests": [{"file": "x.py"}]}, "missing key `passes`"),
        ({"tests": [{"file": "x.py", "passes": 1}] * 2}, "`x.py` stands twice"),
        ({"tests": [{"file": "x.py", "passes": 1, "without": ["a"]}]}, "tests are left out for a reason"),
        ({"tests": [{"file": "x.py", "passes": 1, "reason": "a"}]}, "tests are left out for a reason"),
        (
            {"tests": [{"file": "x.py", "passes": 1, "without": ["a or b"], "reason": "c"}]},
            "parts of the names of tests",
        ),
        ({"tests": [{"file": "x.py", "passes": 1, "marks": ["not quick"]}]}, "the names of pytest's marks"),
    ],
)
def test_what_is_wrong_with_upstreams_tests_is_told(change: dict[str, Any], said: str) -> None:
    _, problems = read(TESTED | change)
    assert len(problems) == 1 and said in problems[0]


def test_what_is_missing_is_told_all_at_once() -> None:
    _, problems = read({})
    assert len(problems) == 4


def test_two_of_one_name_are_refused() -> None:
    _, problems = read(SERVE, FULL, SERVE)
    assert len(problems) == 1 and "`serve` stands twice" in problems[0]


def test_a_cell_goes_through_those_that_do_not_leave_it_out() -> None:
    (serve, full), _ = read(SERVE, FULL)
    assert select_scenarios((serve, full), make_cell(CPU)) == (serve,)
    assert select_scenarios((serve, full), make_cell(RTX)) == (serve, full)
    absence = full.find_absence(make_cell(CPU))
    assert absence and absence.reason == "is in float32 anyway"


def test_whatever_the_gate_gives_to_a_container_a_scenario_cannot() -> None:
    tests = (UpstreamTest("test_a.py", 1),)
    given = make_environment(make_cell(RTX), Scenario("x", ("load",), 1, 1, model="llama", tests=tests))
    assert given.keys() <= set(RESERVED)
