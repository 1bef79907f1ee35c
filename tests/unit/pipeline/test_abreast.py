from __future__ import annotations

from threading import Barrier, Event

import pytest

from scripts.errors import BuildFailed
from scripts.pipeline.abreast import run_abreast

WAIT_S = 10


def nothing_to_stop() -> None:
    raise AssertionError("nothing was to be stopped")


@pytest.mark.parametrize("at_a_time", [0, 1, 2, 3])
def test_what_comes_out_has_the_order_of_what_went_in(at_a_time: int) -> None:
    assert run_abreast(lambda item: item * 2, [1, 2, 3], at_a_time, nothing_to_stop) == [2, 4, 6]


def test_so_many_are_worked_on_at_a_time() -> None:
    meeting = Barrier(2)
    assert sorted(run_abreast(lambda _: meeting.wait(WAIT_S), range(4), 2, nothing_to_stop)) == [0, 0, 1, 1]


def test_a_failure_waits_for_what_had_begun() -> None:
    began, ended = Event(), Event()

    def work(item: str) -> None:
        if item == "fails":
            assert began.wait(WAIT_S)
            raise BuildFailed("it failed", item)
        began.set()
        ended.set()

    with pytest.raises(BuildFailed):
        run_abreast(work, ["fails", "goes on"], 2, nothing_to_stop)
    assert ended.is_set()


def test_after_a_failure_nothing_is_begun() -> None:
    failed, begun = Event(), Event()

    def work(item: str) -> None:
        if item == "slow":  # and so the one that is waited for
            assert failed.wait(WAIT_S)
            begun.wait(0.2)
        elif item == "fails":
            failed.set()
            raise BuildFailed("it failed", item)
        else:
            begun.set()

    with pytest.raises(BuildFailed):
        run_abreast(work, ["slow", "fails", "never"], 2, nothing_to_stop)
    assert not begun.is_set()


def test_an_interruption_stops_what_had_begun_and_begins_nothing_more() -> None:
    began, stopped = Event(), Event()
    seen: list[str] = []

    def work(item: str) -> None:
        seen.append(item)
        if item == "interrupted":
            assert began.wait(WAIT_S)
            raise KeyboardInterrupt
        began.set()
        assert stopped.wait(WAIT_S)

    with pytest.raises(KeyboardInterrupt):
        run_abreast(work, ["interrupted", "goes on", *["never"] * 5], 2, stopped.set)
    assert stopped.is_set()
    assert "never" not in seen
