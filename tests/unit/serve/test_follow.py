"""What a container says is handed on by lines, through silence, until it ends."""

from __future__ import annotations

import pytest
import requests
from docker.errors import APIError

from scripts.serve.follow import KEPT, Follower
from tests.unit.fake_docker import FakeContainer, FakeDocker, raise_


@pytest.fixture
def container() -> FakeContainer:
    made = FakeContainer(FakeDocker(), "hallmark-serve")
    made.status = "running"
    return made


def test_lines_come_whole_however_they_were_cut(container: FakeContainer) -> None:
    container.stream = [b"one\r\ntw", b"o\nthree"]
    follower = Follower(container)
    assert list(follower.lines()) == ["one", "two", "three"]
    assert follower.finish() == "one\ntwo\nthree" and follower.last == "three"


def test_the_last_lines_are_kept(container: FakeContainer) -> None:
    container.stream = [b"".join(b"%d\n" % number for number in range(100))]
    assert Follower(container).finish().splitlines() == [str(number) for number in range(100 - KEPT, 100)]


def test_what_was_said_can_be_left_out_and_the_end_is_seen_all_the_same(container: FakeContainer) -> None:
    container.stream = [b"one\ntwo\n"]
    follower = Follower(container)
    follower.finish()
    follower.skip()
    assert list(follower.lines()) == []


def test_a_silence_that_the_sdk_gives_up_on_is_no_end(container: FakeContainer) -> None:
    def silence() -> None:
        container.stream = [b"after\n"]
        raise requests.ConnectionError("read timed out")

    container.stream = [b"before\n", silence]
    assert list(Follower(container).lines()) == ["before", "after"]


@pytest.mark.parametrize("gone", ["container", "engine"])
def test_what_has_gone_says_nothing_more(gone: str, container: FakeContainer) -> None:
    def go() -> None:
        container.status = "exited"
        container.docker.alive = gone == "container"
        raise requests.ConnectionError("closed")

    container.stream = [b"before\n", go]
    assert list(Follower(container).lines()) == ["before"]


def test_an_engine_that_refuses_is_the_end(container: FakeContainer) -> None:
    container.stream = [lambda: raise_(APIError("no"))]
    assert list(Follower(container).lines()) == []
