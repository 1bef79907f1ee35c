from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.buildkit.builder import Builder, EngineBuilder
from scripts.engine import Engine
from scripts.errors import Undecided
from tests.unit.fake_docker import FakeDocker

INSPECTED = "Name:          far\nDriver:        remote\n\nNodes:\nName:             far0\nStatus:           {}\n"


@dataclass(frozen=True)
class ScriptedEngine(Engine):
    """Notes what its command line is asked, and answers what it is told."""

    asked: list[list[str]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)

    def spawn(self, arguments: list[str], on_line: Callable[[str], None]) -> int:
        self.asked.append(arguments)
        self.environments.append(dict(self.environment))
        on_line("said")
        return 7

    def query(self, arguments: list[str]) -> str:
        self.asked.append(arguments)
        if not self.answer:
            raise Undecided("no such builder")
        return self.answer[0]


def make(name: str = "default", *, embedded: bool = True, docker: FakeDocker | None = None) -> EngineBuilder:
    engine = ScriptedEngine("unix:///run/fake.sock", embedded, "28", {"DOCKER_CONFIG": "/of/ours"})
    engine.__dict__["client"] = docker or FakeDocker()
    return EngineBuilder(engine, name)


def engine_of(builder: EngineBuilder) -> ScriptedEngine:
    assert isinstance(builder.engine, ScriptedEngine)
    return builder.engine


@pytest.mark.parametrize("name", ["default", "far"])
def test_a_build_goes_to_the_builder_of_that_name(name: str) -> None:
    builder: Builder = make(name)
    said: list[str] = []
    assert builder.run(["build", "."], said.append) == 7
    assert engine_of(make(name)).asked == [], "each engine has notes of its own"
    assert isinstance(builder, EngineBuilder)
    assert engine_of(builder).asked == [["buildx", "--builder", name, "build", "."]]
    assert said == ["said"]


def test_another_builder_is_looked_up_where_the_user_keeps_builders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUILDX_CONFIG", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", "/of/the/user")
    for name, setting in (("default", None), ("far", "/of/the/user/buildx")):
        builder = make(name)
        builder.run(["build"], lambda line: None)
        [environment] = engine_of(builder).environments
        assert environment["DOCKER_CONFIG"] == "/of/ours"
        assert environment.get("BUILDX_CONFIG") == setting
    monkeypatch.setenv("BUILDX_CONFIG", "/elsewhere")
    builder = make("far")
    builder.run(["build"], lambda line: None)
    assert engine_of(builder).environments[0]["BUILDX_CONFIG"] == "/elsewhere"


def test_what_runs_in_another_builder_ends_with_the_engines_children() -> None:
    ended: list[str] = []

    class Child:
        def terminate(self) -> None:
            ended.append("terminated")

    class Running(ScriptedEngine):
        def spawn(self, arguments: list[str], on_line: Callable[[str], None]) -> int:
            self._children.add(Child())  # type: ignore[arg-type]
            return 0

    engine = Running("unix:///run/fake.sock", embedded=True, version="28")
    EngineBuilder(engine, "far").run(["build"], lambda line: None)
    engine.end_children()
    assert ended == ["terminated"]


@pytest.mark.parametrize(
    ("name", "embedded", "pruned"), [("default", True, True), ("default", False, False), ("far", True, False)]
)
def test_only_a_cache_of_ours_is_emptied(name: str, embedded: bool, pruned: bool) -> None:
    builder = make(name, embedded=embedded)
    engine_of(builder).answer.append("")
    builder.prune()
    asked = [" ".join(command) for command in engine_of(builder).asked]
    assert all(command.startswith("builder prune --all --force --filter type=") for command in asked)
    assert bool(asked) is pruned and not any("cachemount" in command for command in asked)
    engine_of(builder).asked.clear()
    builder.prune(everything=True)
    assert engine_of(builder).asked == [["builder", "prune", "--all", "--force"]] * pruned


def test_the_engines_own_builder_answers_while_the_engine_does() -> None:
    docker = FakeDocker()
    builder = make(docker=docker)
    assert builder.answers()
    docker.alive = False
    assert not builder.answers()


@pytest.mark.parametrize(("status", "answers"), [("running", True), ("stopped", False), ("error: running late", False)])
def test_another_builder_answers_while_one_of_its_nodes_runs(status: str, answers: bool) -> None:
    builder = make("far")
    engine_of(builder).answer.append(INSPECTED.format(status))
    assert builder.answers() is answers
    assert engine_of(builder).asked == [["buildx", "inspect", "far"]]


def test_a_builder_that_nobody_knows_does_not_answer() -> None:
    assert not make("far").answers()


def test_messages_name_the_builder() -> None:
    assert make().where == "unix:///run/fake.sock"
    assert make("far").where == "builder far"


def test_room_is_needed_where_the_engine_keeps_its_data() -> None:
    assert make().disk == make("far").disk == Path("/")
