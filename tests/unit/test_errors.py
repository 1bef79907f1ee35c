from __future__ import annotations

import itertools

import pytest

from scripts.errors import BuildFailed, ConfigError, ExitCode, HallmarkError, Problem, Undecided, worst


def test_exit_codes_are_a_contract_with_ci() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "ACCEPTED": 0,
        "REJECTED": 1,
        "USAGE": 2,
        "INCONCLUSIVE": 3,
        "BUILD_FAILED": 4,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], ExitCode.INCONCLUSIVE),
        ([ExitCode.ACCEPTED, ExitCode.ACCEPTED], ExitCode.ACCEPTED),
        ([ExitCode.ACCEPTED, ExitCode.INCONCLUSIVE], ExitCode.INCONCLUSIVE),
        ([ExitCode.INCONCLUSIVE, ExitCode.REJECTED], ExitCode.REJECTED),
        ([ExitCode.BUILD_FAILED, ExitCode.REJECTED], ExitCode.BUILD_FAILED),
        ([ExitCode.USAGE, ExitCode.BUILD_FAILED], ExitCode.USAGE),
        ([ExitCode.INTERRUPTED, *ExitCode], ExitCode.INTERRUPTED),
    ],
)
def test_several_cells_exit_with_the_worst(codes: list[ExitCode], expected: ExitCode) -> None:
    assert worst(codes) is worst(codes[::-1]) is expected


def test_every_exit_code_has_a_rank_and_only_accepted_cells_exit_with_zero() -> None:
    for pair in itertools.product(ExitCode, repeat=2):
        assert (worst(list(pair)) == 0) == (pair == (0, 0))


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("it broke"), "it broke"),
        (Problem("it broke", "here"), "here: it broke"),
        (Problem("it broke", next_step="mend it"), "it broke\n  next: mend it"),
        (Problem("it broke", "here", "mend it"), "here: it broke\n  next: mend it"),
    ],
)
def test_a_problem_says_cause_place_and_next_step(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_an_error_of_one_cause_is_an_error_of_one_problem() -> None:
    assert HallmarkError("a", "b", "c").problems == [Problem("a", "b", "c")]


def test_an_error_shows_all_its_problems() -> None:
    assert str(ConfigError([Problem("a"), Problem("b", "c")])) == "a\nc: b"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (HallmarkError, ExitCode.INCONCLUSIVE),
        (ConfigError, ExitCode.USAGE),
        (Undecided, ExitCode.INCONCLUSIVE),
        (BuildFailed, ExitCode.BUILD_FAILED),
    ],
)
def test_each_kind_of_error_has_an_exit_code_and_none_accepts(kind: type[HallmarkError], code: ExitCode) -> None:
    assert kind("x").exit_code is code
