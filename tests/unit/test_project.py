"""A project is opened whole or not at all, and the engine is the host's, the embedded one, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts import project as module
from scripts.assemble.types import BuildOptions
from scripts.engine import Engine
from scripts.errors import ConfigError, Undecided
from scripts.fetch import Cache
from scripts.model import LockedFile
from scripts.project import Project, find_running, open_engine
from tests.unit.builders import edit, write_locked_project

HOST = Engine(host="unix:///host.sock", embedded=False, version="28.5.1")
OWN = Engine(host="unix:///own.sock", embedded=True, version="26.1.5")


@pytest.fixture(autouse=True)
def _site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BUILDER", "COMPRESSION", "ENGINE", "REGISTRY", "MIRRORS", "WHEELS"):
        monkeypatch.delenv(f"HALLMARK_{name}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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


# --- opening


def test_a_project_is_its_matrix_its_site_and_its_workspace(root: Path, tmp_path: Path) -> None:
    project = Project.open(root)
    assert list(project.matrix.images) == ["base", "serve", "train"]
    assert project.site.cache == tmp_path / "cache/hallmark"
    assert project.workspace.root == root and not project.workspace.folder.exists(), "opening writes nothing"


def test_a_mistake_of_the_site_or_of_the_checkout_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="the file is missing"):
        Project.open(root / "nothing")
    monkeypatch.setenv("HALLMARK_COMPRESSION", "xz")
    with pytest.raises(ConfigError, match="HALLMARK_COMPRESSION=xz"):
        Project.open(root)


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
@pytest.mark.parametrize("matrix_slims", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_what_a_build_depends_on_is_the_sites_the_matrixs_and_the_command_lines(
    compression: Any, matrix_slims: bool, asked: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_COMPRESSION", compression)
    edit(root / "matrix.toml", "version = 1\n", f"version = 1\nslim = {str(matrix_slims).lower()}\n")
    project = Project.open(root)
    assert project.build_options(slim=asked) == BuildOptions(compression, matrix_slims and asked)
    assert project.build_options() == project.build_options(slim=True)


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
