"""The engine is the host's, the embedded one, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts import engines as module
from scripts.engine import Engine
from scripts.engines import find_running, open_engine
from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.model import LockedFile
from scripts.project import Project
from tests.unit.builders import clear_site, write_locked_project

HOST = Engine(host="unix:///host.sock", embedded=False, version="28.5.1")
OWN = Engine(host="unix:///own.sock", embedded=True, version="26.1.5")


@pytest.fixture(autouse=True)
def _site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clear_site(monkeypatch, tmp_path / "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_locked_project(tmp_path / "project")
    return tmp_path / "project"


class Machine:
    """The engines that there are, and what became of the embedded one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host: Engine | None = HOST
        self.running = False
        self.unpacked = True
        self.folders: list[Path] = []
        self.packages: list[str] = []
        self.fetched: list[str] = []
        machine = self

        class Embedded:
            def __init__(self, folder: Path) -> None:
                machine.folders.append(folder)

            @property
            def is_running(self) -> bool:
                return machine.running

            def up(self, packages: Sequence[LockedFile], fetch: Callable[[], Sequence[Path]]) -> Engine:
                machine.packages = [package.file for package in packages]
                if not machine.unpacked:
                    assert len(fetch()) == len(packages)
                machine.running = True
                return OWN

        def fetch_files(files: Sequence[LockedFile], site: Any, platform: Any) -> Cache:
            machine.fetched = [file.file for file in files]
            return Cache(site.cache)

        monkeypatch.setattr(module, "Embedded", Embedded)
        monkeypatch.setattr(module, "probe_host", lambda: (machine.host, "" if machine.host else "no engine answers"))
        monkeypatch.setattr(module, "fetch_files", fetch_files)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


# --- the engine that is used


@pytest.mark.parametrize(
    ("setting", "host", "used"),
    [("auto", HOST, HOST), ("auto", None, OWN), ("host", HOST, HOST), ("embedded", HOST, OWN)],
)
def test_the_site_says_which_engine_is_used(
    setting: str, host: Engine | None, used: Engine, root: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_ENGINE", setting)
    machine.host = host
    assert open_engine(Project.open(root)) == used
    assert machine.running is (used is OWN), "the embedded engine is started where it is used alone"


def test_a_hosts_engine_that_is_asked_for_and_will_not_do_is_not_replaced_in_silence(
    root: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_ENGINE", "host")
    machine.host = None
    with pytest.raises(Undecided, match=r"HALLMARK_ENGINE=host: no engine answers[\s\S]*mend the host"):
        open_engine(Project.open(root))
    assert not machine.running


def test_the_embedded_engine_is_made_of_the_locks_packages_and_lies_in_the_checkout(
    root: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.host, machine.unpacked = None, False
    project = Project.open(root)
    open_engine(project)
    assert machine.packages == machine.fetched == ["engine.deb"], "the lock's wheels are no part of an engine"
    assert set(machine.folders) == {project.workspace.engine}
    assert "using the embedded engine (no engine answers)" in capsys.readouterr().err


def test_an_engine_that_is_unpacked_needs_no_network(root: Path, machine: Machine) -> None:
    machine.host = None
    open_engine(Project.open(root))
    assert machine.fetched == []


# --- the engine that runs already


@pytest.mark.parametrize(
    ("setting", "host", "running", "found"),
    [
        ("auto", HOST, False, HOST),
        ("auto", None, True, OWN),
        ("auto", None, False, None),
        ("embedded", HOST, False, None),
        ("embedded", HOST, True, OWN),
        ("host", HOST, True, HOST),
        ("host", None, False, None),
    ],
)
def test_looking_for_an_engine_starts_none(
    setting: str,
    host: Engine | None,
    running: bool,
    found: Engine | None,
    root: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HALLMARK_ENGINE", setting)
    machine.host, machine.running = host, running
    assert find_running(Project.open(root)) == found
    assert machine.running is running
