from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.build.steps import Step
from scripts.engine import Engine
from scripts.trim import clean, trim
from scripts.workspace import Workspace
from tests.unit.builders import EPOCH, make_image, write
from tests.unit.fake_docker import FakeDocker, FakeEngine

OLD, NEW, OTHER, LOST = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


def digest(build_id: str) -> str:
    return f"sha256:{build_id}"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two builds of one cell, one of another, and a layout whose record was lost."""
    workspace = Workspace(tmp_path)
    for build_id, name in ((OLD, "serve-cpu"), (NEW, "serve-cpu"), (OTHER, "train-cpu"), (LOST, "")):
        write(workspace.layout(build_id) / "index.json", "{}")
        if name:
            record = {"name": name, "digest": digest(build_id)}
            write(workspace.run(build_id) / "build.json", json.dumps(record))
            write(workspace.run(build_id) / "smoke.json", "{}")
    write(workspace.work / "half/way", "x")
    return workspace


@pytest.fixture
def pruned(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands by which the engine's build cache was emptied."""
    commands: list[list[str]] = []

    def query(self: Engine, arguments: list[str]) -> str:
        commands.append(arguments)
        return ""

    monkeypatch.setattr(FakeEngine, "query", query)
    return commands


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def make_step(build_id: str) -> Step:
    return Step("serve-cpu", make_image(Path("/images/serve")), None, (), (), EPOCH, {}, build_id)


def test_after_a_run_its_own_earlier_layouts_go_and_all_evidence_stays(workspace: Workspace) -> None:
    trim(workspace, FakeDocker().engine(), [make_step(NEW)])
    assert names(workspace.layouts) == {NEW, OTHER}
    assert names(workspace.runs) == {OLD, NEW, OTHER}
    assert not workspace.work.exists()


def test_a_build_cache_is_emptied_where_the_engine_is_ours_alone(workspace: Workspace, pruned: list[list[str]]) -> None:
    trim(workspace, FakeDocker().engine(embedded=False), [])
    assert pruned == []
    trim(workspace, FakeDocker().engine(embedded=True), [])
    assert pruned == [["builder", "prune", "--all", "--force"]]


def test_trimming_an_empty_workspace_is_fine(tmp_path: Path) -> None:
    trim(Workspace(tmp_path), FakeDocker().engine(), [make_step(NEW)])
    assert names(tmp_path) == set()


def test_cleaning_keeps_what_a_tag_needs(workspace: Workspace, tmp_path: Path, pruned: list[list[str]]) -> None:
    docker = FakeDocker()
    docker.tags = {digest(OLD): set(), digest(NEW): {"hallmark/serve:1-cpu"}}
    cache = tmp_path / "cache"
    write(cache / "partial/x", "")
    write(cache / "sha256/aa/x", "")
    assert clean(workspace, docker.engine(embedded=True), cache, inputs=False) >= 0
    assert docker.tags == {digest(NEW): {"hallmark/serve:1-cpu"}}
    assert names(workspace.runs) == {NEW}
    assert not workspace.layouts.exists() and not workspace.work.exists() and len(pruned) == 1
    assert not (cache / "partial").exists() and (cache / "sha256/aa/x").exists()


def test_cleaning_everything_empties_the_cache_of_inputs(workspace: Workspace, tmp_path: Path) -> None:
    write(tmp_path / "cache/sha256/aa/x", "").chmod(0o444)
    clean(workspace, FakeDocker().engine(), tmp_path / "cache", inputs=True)
    assert not (tmp_path / "cache").exists()


def test_without_an_engine_evidence_is_kept_for_nobody_knows_which_is_needed(workspace: Workspace) -> None:
    clean(workspace, None, Path("/no/such/cache"), inputs=False)
    assert names(workspace.runs) == {OLD, NEW, OTHER}


@pytest.mark.parametrize("record", ["", "{", "[1]", "3", "{}"])
def test_a_layout_whose_record_is_damaged_goes_after_a_run(record: str, workspace: Workspace) -> None:
    write(workspace.run(OTHER) / "build.json", record)
    trim(workspace, FakeDocker().engine(), [make_step(NEW)])
    assert names(workspace.layouts) == {NEW}


@pytest.mark.parametrize("record", ["", "{", "[1]", "{}", '{"digest": 3}'])
def test_a_damaged_record_needs_nothing(record: str, workspace: Workspace) -> None:
    write(workspace.run(OLD) / "build.json", record)
    docker = FakeDocker()
    docker.tags = {digest(NEW): {"hallmark/serve:1-cpu"}}
    clean(workspace, docker.engine(), Path("/no/such/cache"), inputs=False)
    assert names(workspace.runs) == {NEW}


def test_what_was_freed_is_measured_on_the_disk(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        def __init__(self, free: int) -> None:
            self.free = free

    free = iter([Usage(1000), Usage(4000)])

    def disk_usage(path: Any) -> Usage:
        return next(free)

    monkeypatch.setattr("scripts.trim.shutil.disk_usage", disk_usage)
    assert clean(workspace, None, Path("/no/such/cache"), inputs=False) == 3000
