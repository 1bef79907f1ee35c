"""Which engine a build would use is found as a build finds it, and nothing is started for that."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.doctor import find_engine as module
from scripts.doctor.find_engine import find_engine, mend_host
from scripts.doctor.seen import EngineSeen
from scripts.engine import Embedded, Engine
from scripts.engine.host import CONTAINERD, find_shortcoming, probe_host
from scripts.errors import ConfigError, Undecided
from scripts.fetch import Cache
from scripts.site import Site
from scripts.workspace import Workspace
from tests.unit.builders import put_in_cache, write_locked_project
from tests.unit.fake_docker import FakeDocker, raise_


class Machine:
    """What there is: a host's engine or why not, and an embedded one that runs, lies there, or is nowhere."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, patch
        self.site = Site("auto", "", (), (), root / "cache")
        self.host: tuple[Engine | None, str] = (None, "no Docker Engine answers at unix:///x")
        self.running: Engine | None = None
        self.is_running = False
        patch.setattr(module, "probe_host", lambda: self.host)
        patch.setattr(Embedded, "find", lambda _, packages: self.running)
        patch.setattr(Embedded, "is_running", property(lambda _: self.is_running))
        patch.setattr(Embedded, "up", lambda *_: raise_(AssertionError("it was started")))
        patch.setattr(os, "geteuid", lambda: 0)

    def find(self, engine: str = "auto") -> EngineSeen:
        return find_engine(self.root, replace(self.site, engine=engine), Workspace(self.root))

    def cache(self) -> None:
        put_in_cache(Cache(self.site.cache), b"engine")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    write_locked_project(tmp_path)
    return Machine(tmp_path, monkeypatch)


def make_engine(
    monkeypatch: pytest.MonkeyPatch, buildx: Any = "github.com/docker/buildx v0.30.1 abc", **info: Any
) -> Any:
    docker = FakeDocker()
    docker.info = lambda: info  # type: ignore[method-assign]
    engine = docker.engine()

    def query(self: Engine, arguments: list[str]) -> str:
        assert arguments == ["buildx", "version"]
        return str(buildx) if not isinstance(buildx, Exception) else str(raise_(buildx))

    monkeypatch.setattr(type(engine), "query", query)
    return engine


def test_the_hosts_engine_is_asked_what_it_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.host = make_engine(monkeypatch, CgroupVersion="2"), ""
    seen = machine.find()
    assert (seen.embedded, seen.version, seen.buildx, seen.lacking) == (False, "28.5.1", "v0.30.1", "")
    assert seen.info == {"CgroupVersion": "2"}


def test_buildx_that_does_not_answer_is_lacking(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.host = make_engine(monkeypatch, Undecided("no such command")), ""
    seen = machine.find()
    assert "buildx" in seen.lacking and seen.next_step


def test_an_engine_that_goes_away_is_undecided(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(monkeypatch)
    engine.client.info = lambda: raise_(requests.ConnectionError("gone"))
    machine.host = engine, ""
    with pytest.raises(Undecided, match="the engine failed"):
        machine.find()


def test_where_the_host_is_asked_for_the_embedded_one_is_no_help(machine: Machine) -> None:
    seen = machine.find("host")
    assert (seen.embedded, seen.engine) == (False, None)
    assert seen.lacking == "no Docker Engine answers at unix:///x"
    assert "systemctl start docker" in seen.next_step and "unset HALLMARK_ENGINE" in seen.next_step


def test_an_embedded_engine_that_runs_is_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.running = replace(make_engine(monkeypatch), embedded=True)
    machine.running.__dict__["client"] = FakeDocker()
    seen = machine.find()
    assert seen.embedded and seen.engine and seen.why == "no Docker Engine answers at unix:///x"


def test_the_host_is_not_asked_where_the_embedded_one_is_meant(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "probe_host", lambda: raise_(AssertionError("it was asked")))
    assert machine.find("embedded").why == "HALLMARK_ENGINE=embedded"


def test_packages_that_are_not_here_are_lacking(machine: Machine) -> None:
    seen = machine.find()
    assert seen.lacking == "1 of its 1 packages are not in the cache" and "engine -- up" in seen.next_step


def test_packages_in_the_cache_are_enough(machine: Machine) -> None:
    machine.cache()
    seen = machine.find()
    assert (seen.embedded, seen.engine, seen.lacking, seen.next_step) == (True, None, "", "")


def test_packages_that_are_unpacked_need_no_cache(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embedded, "programs", lambda self, packages: machine.root)
    assert machine.find().lacking == ""


def test_whoever_is_not_root_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.cache()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    seen = machine.find()
    assert seen.lacking == "it needs root" and "run as root" in seen.next_step


@pytest.mark.parametrize(("user", "mend"), [(0, "engine -- down"), (1000, "run as root")])
def test_one_that_runs_and_does_not_answer_is_lacking(
    user: int, mend: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.is_running = True
    monkeypatch.setattr(os, "geteuid", lambda: user)
    seen = machine.find()
    assert seen.lacking == "it runs and does not answer" and mend in seen.next_step


def test_a_lock_that_cannot_be_read_is_an_error_that_says_so(machine: Machine) -> None:
    (machine.root / "matrix.lock").unlink()
    with pytest.raises(ConfigError, match="there is no lock file"):
        machine.find()


def test_nothing_is_written(machine: Machine) -> None:
    before = sorted(machine.root.rglob("*"))
    machine.find()
    assert sorted(machine.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("why", "mend"),
    [
        (find_shortcoming("20.10.24", CONTAINERD), "install Docker Engine 26"),
        (find_shortcoming("28.5.1", "overlay2"), "containerd-snapshotter"),
        ("`docker buildx` does not answer", "docker-buildx-plugin"),
        ("anything else", "unset HALLMARK_ENGINE"),
    ],
)
def test_each_shortcoming_of_a_host_has_its_mend(why: str, mend: str) -> None:
    assert mend in mend_host(why) and mend_host(why).count("; or ") <= 1


def test_the_reasons_are_those_that_the_probe_of_the_host_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.engine.host.Client", lambda *_: raise_(OSError("no socket")))
    assert "systemctl start docker" in mend_host(probe_host()[1])

    class Client:
        def version(self) -> dict[str, str]:
            return {"Version": "28.5.1"}

        def info(self) -> dict[str, Any]:
            return {"DriverStatus": [["driver-type", CONTAINERD]]}

    monkeypatch.setattr("scripts.engine.host.Client", lambda *_: Client())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: raise_(OSError("no docker")))
    assert "docker-buildx-plugin" in mend_host(probe_host()[1])


@pytest.mark.parametrize("status", [5, ["x"], [[1, 2, 3]], [None]])
def test_an_engine_that_answers_strangely_is_undecided(
    status: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.host = make_engine(monkeypatch, DriverStatus=status), ""
    with pytest.raises(Undecided, match="as no engine does"):
        machine.find()
