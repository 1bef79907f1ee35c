"""The engine's command line: what it prints is handed on, and it ends with us."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.engine import Engine
from scripts.errors import Undecided
from tests.unit.fake_docker import FakeDocker


class Child:
    """A process that has printed something and ends with 3, or as it is ended."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.command, self.environment = command, environment
        self.stdout = io.StringIO("one\n  two \n\nthree")
        self.code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if timeout and self.code is None:
            raise subprocess.TimeoutExpired(self.command, timeout)
        self.code = 3 if self.code is None else self.code
        return self.code

    def poll(self) -> int | None:
        return self.code

    deaf = False

    def terminate(self) -> None:
        self.code = None if self.deaf else -15

    def kill(self) -> None:
        self.code = -9


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    made: list[Child] = []

    def start(command: list[str], **options: Any) -> Child:
        assert options["stderr"] == subprocess.STDOUT and options["stdin"] == subprocess.DEVNULL
        made.append(Child(command, options["env"]))
        return made[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return made


@pytest.fixture
def engine() -> Engine:
    return Engine("unix:///run/fake.sock", embedded=True, version="28", environment={"DOCKER_CONFIG": "/ours"})


def test_what_the_command_prints_is_handed_on_line_by_line(engine: Engine, children: list[Child]) -> None:
    said: list[str] = []
    assert engine.spawn(["buildx", "build"], said.append) == 3
    assert said == ["one", "  two ", "", "three"]
    [child] = children
    assert child.command == ["docker", "buildx", "build"]
    assert child.environment["DOCKER_HOST"] == "unix:///run/fake.sock"
    assert child.environment["DOCKER_CONFIG"] == "/ours"


def test_an_interruption_ends_the_command(engine: Engine, children: list[Child]) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.spawn(["buildx"], interrupt)
    assert children[0].code == -15


def test_a_command_that_does_not_end_when_asked_to_is_killed(
    engine: Engine, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Child, "deaf", True)
    with pytest.raises(KeyboardInterrupt):
        engine.spawn(["buildx"], interrupt)
    assert children[0].code == -9


def test_another_thread_can_end_what_runs_and_nothing_else(engine: Engine, children: list[Child]) -> None:
    assert engine.spawn(["buildx"], lambda line: engine.end_children()) == -15
    children[0].code = None
    engine.end_children()
    assert children[0].code is None, "it had ended, and was forgotten"


def test_without_a_command_line_nothing_is_decided(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory", "docker")

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(Undecided) as caught:
        engine.spawn(["buildx"], lambda line: None)
    assert "'docker'" in str(caught.value)
    assert caught.value.problems[0].place == "docker buildx" and caught.value.problems[0].next_step


STRANGE = [
    *(
        ValueError("x"),
        TypeError("x"),
        KeyError("Id"),
        IndexError(),
        AttributeError("x"),
        RecursionError(),
        OverflowError(),
    ),
    Exception("Can't create Image from []"),  # as the SDK has it
]


@pytest.mark.parametrize("error", STRANGE, ids=repr)
def test_an_answer_that_no_engine_gives_is_a_failure_of_the_engine(error: Exception, engine: Engine) -> None:
    with pytest.raises(Undecided, match="it answers as no engine does") as caught, engine.explaining():
        raise error
    [problem] = caught.value.problems
    assert problem.place == engine.host and problem.next_step


@pytest.mark.parametrize("error", [Undecided("a", "b", "c"), OSError("disk"), AssertionError(), KeyboardInterrupt()])
def test_what_is_not_the_engines_stays_what_it_is(error: BaseException, engine: Engine) -> None:
    with pytest.raises(type(error)) as caught, engine.explaining():
        raise error
    assert caught.value is error


def test_an_answer_that_is_no_json_is_the_engines_failure_in_the_sdks_words(engine: Engine) -> None:
    with pytest.raises(Undecided, match="the engine failed: Expecting value"), engine.explaining():
        raise requests.JSONDecodeError("Expecting value", "<html>", 0)


@pytest.mark.parametrize("info", [[], None, {"DockerRootDir": "\0"}, {"DockerRootDir": []}])
def test_a_data_folder_that_is_none_is_undecided_or_the_root(info: Any) -> None:
    docker = FakeDocker()
    docker.info = lambda: info  # type: ignore[method-assign]
    try:
        assert docker.engine().data_root == Path("/")
    except Undecided as error:
        assert error.problems[0].next_step
