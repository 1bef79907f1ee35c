"""How closed a server's container is: as closed as the engine, the user and the model allow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from scripts.engine import Engine
from scripts.errors import ConfigError, Undecided
from scripts.serve.model import Model
from scripts.serve.network import Way, choose_way, open_namespace
from tests.unit.fake_docker import FakeContainer, FakeDocker
from tests.unit.serve.made import HUB

LOCAL = Model("tiny", Path("/models/tiny"))


@pytest.fixture
def docker() -> FakeDocker:
    return FakeDocker()


def choose(docker: FakeDocker, model: Model = LOCAL, host: str = "unix:///run/fake.sock") -> Way:
    engine = Engine(host, embedded=False, version="28.5.1")
    engine.__dict__["client"] = docker
    return choose_way(engine, model)


@pytest.mark.parametrize(
    ("user", "host", "info", "way"),
    [
        (0, "unix:///run/fake.sock", {}, Way.ENTERED),
        (1000, "unix:///run/fake.sock", {}, Way.INTERNAL),
        (0, "tcp://far:2376", {}, Way.PUBLISHED),
        (1000, "ssh://far", {}, Way.PUBLISHED),
        (1000, "unix:///run/fake.sock", {"SecurityOptions": ["name=seccomp", "name=rootless"]}, Way.PUBLISHED),
        (1000, "unix:///run/fake.sock", {"OperatingSystem": "Docker Desktop"}, Way.PUBLISHED),
    ],
)
def test_a_local_model_needs_no_network(
    user: int, host: str, info: dict[str, Any], way: Way, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(docker, "info", lambda: info)
    assert choose(docker, host=host) is way


def test_a_model_to_be_downloaded_needs_one(docker: FakeDocker) -> None:
    with pytest.raises(ConfigError, match="the engine gives containers no network") as caught:
        choose(docker, HUB)
    assert "hf download team/model --local-dir" in str(caught.value)
    docker.networks.there["my-bridge"] = {}
    with pytest.raises(ConfigError):
        choose(docker, HUB)
    docker.networks.there["bridge"] = {}
    assert choose(docker, HUB) is Way.PUBLISHED


def container(docker: FakeDocker, pid: Any, name: str) -> FakeContainer:
    made = FakeContainer(docker, "hallmark-serve")
    made.pid, made.id = pid, name
    return made


def test_a_container_of_this_machine_has_a_network_to_enter(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: f"0::/docker/abc in {path}")
    namespace = open_namespace(container(docker, os.getpid(), "abc"))
    try:
        assert os.fstat(namespace).st_ino == Path("/proc/self/ns/net").stat().st_ino
    finally:
        os.close(namespace)


def test_a_process_of_the_same_number_is_not_the_container(docker: FakeDocker) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(Undecided, match="is another's"):
        open_namespace(container(docker, os.getpid(), "no such container"))
    with pytest.raises(Undecided, match="no process of this machine: No such file"):
        open_namespace(container(docker, 0, "abc"))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("info", [[], {"SecurityOptions": 5}])
def test_an_engine_that_answers_strangely_is_undecided(info: Any, docker: FakeDocker) -> None:
    docker.info = lambda: info  # type: ignore[method-assign]
    with pytest.raises(Undecided, match="as no engine does"):
        choose(docker)


@pytest.mark.parametrize("pid", [None, "x", []])
def test_a_container_without_a_process_is_none_of_this_machine(pid: Any, docker: FakeDocker) -> None:
    with pytest.raises(Undecided, match="does not say which it is"):
        open_namespace(container(docker, pid, "abc"))
