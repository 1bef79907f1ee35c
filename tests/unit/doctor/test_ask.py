from __future__ import annotations

import threading

import pytest

from scripts.doctor.ask import Asked, explain
from scripts.doctor.seen import Unseen
from scripts.errors import ConfigError, Problem, Undecided


def test_an_answer_is_handed_on() -> None:
    assert Asked(lambda: 7).answer() == 7


def test_nobody_waits_for_longer_than_the_limit() -> None:
    over = threading.Event()
    asked = Asked(lambda: over.wait(5), limit_s=0.02)
    assert asked.answer() == Unseen("no answer within 0.02 s")
    over.set()


def test_questions_are_answered_side_by_side() -> None:
    first, second = threading.Event(), threading.Event()

    def one() -> bool:
        first.set()
        return second.wait(20)

    def other() -> bool:
        second.set()
        return first.wait(20)

    asked = [Asked(one), Asked(other)]
    assert [each.answer() for each in asked] == [True, True]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (Undecided("no disk", "here", "buy one"), Unseen("here: no disk", "buy one")),
        (ConfigError([Problem("a"), Problem("b", "there")]), Unseen("a (and 1 more)")),
        (Undecided("first\n  second line"), Unseen("first second line")),
        (PermissionError(13, "Permission denied", "/locked"), Unseen("/locked: Permission denied")),
        (OSError(5, "Input/output error"), Unseen("Input/output error")),
        (OSError("no number"), Unseen("OSError: no number")),
        (KeyError("MemTotal"), Unseen("KeyError: 'MemTotal'")),
    ],
)
def test_a_failure_is_one_line(error: Exception, seen: Unseen) -> None:
    def fail() -> None:
        raise error

    assert explain(error) == seen == Asked(fail).answer()
