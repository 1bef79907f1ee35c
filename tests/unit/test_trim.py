from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.assemble.types import Step
from scripts.errors import Undecided
from scripts.trim import DERIVED, clean, trim
from scripts.workspace import Workspace
from tests.unit.builders import EPOCH, make_image, write
from tests.unit.buildkit.streams import FakeBuilder
from tests.unit.fake_docker import FakeDocker, FarDocker

OLD, NEW, OTHER, LOST, OLD_BASE, BASE = (letter * 64 for letter in "abcdef")


def digest(build_id: str) -> str:
    return f"sha256:{build_id}"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two builds of one cell and of its parent, one of another, a layout whose record was lost, and half a build."""
    workspace = Workspace(tmp_path)
    builds = {OLD: "serve-cpu", NEW: "serve-cpu", OTHER: "train-cpu", LOST: "", OLD_BASE: "base", BASE: "base"}
    for build_id, name in builds.items():
        write(workspace.layout(build_id) / "index.json", "{}")
        if name:
            record = {"name": name, "digest": digest(build_id)}
            write(workspace.run(build_id) / "build.json", json.dumps(record))
            write(workspace.run(build_id) / "smoke.json", "{}")
    write(workspace.work / "half.0123abcd/way", "x")
    return workspace


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def make_step(build_id: str) -> Step:
    image = make_image(Path("/images/serve"))
    base = Step("base", image, None, (), EPOCH, {}, build_id=BASE)
    return Step("serve-cpu", image, base, (), EPOCH, {}, build_id=build_id)


# --- after a run


def test_layouts_of_earlier_builds_go_and_all_evidence_stays(workspace: Workspace) -> None:
    builder = FakeBuilder()
    trim(workspace, builder, [make_step(NEW)])
    assert names(workspace.layouts) == {NEW, OTHER, BASE}
    assert names(workspace.runs) == {OLD, NEW, OTHER, OLD_BASE, BASE}
    assert names(workspace.work) == set(), "what an interrupted run left"
    assert builder.pruned == 1


def test_a_layout_that_another_run_holds_stays(workspace: Workspace) -> None:
    with workspace.claim(OLD) as work:
        write(work / "half", "x")
        trim(workspace, FakeBuilder(), [make_step(NEW)])
        assert OLD in names(workspace.layouts) and (work / "half").exists()
    trim(workspace, FakeBuilder(), [make_step(NEW)])
    assert OLD not in names(workspace.layouts)


def test_trimming_an_empty_workspace_is_fine(tmp_path: Path) -> None:
    trim(Workspace(tmp_path), FakeBuilder(), [make_step(NEW)])
    assert names(tmp_path) == set()


@pytest.mark.parametrize("record", ["", "{", "[1]", "3", "{}"])
def test_a_layout_whose_record_is_damaged_goes_after_a_run(record: str, workspace: Workspace) -> None:
    write(workspace.run(OTHER) / "build.json", record)
    trim(workspace, FakeBuilder(), [make_step(NEW)])
    assert names(workspace.layouts) == {NEW, BASE}


# --- when asked for


def test_cleaning_keeps_what_a_tag_needs(workspace: Workspace, tmp_path: Path) -> None:
    docker, builder, cache = FakeDocker(), FakeBuilder(), tmp_path / "cache"
    docker.tags = {digest(OLD): set(), digest(NEW): {"hallmark/serve:1-cpu"}}
    for name in (*DERIVED, "sha256"):
        write(cache / name / "x", "")
    write(workspace.contexts("serve-cpu") / "x", "")
    assert clean(workspace, [docker.engine()], builder, cache, inputs=False) >= 0
    assert docker.tags == {digest(NEW): {"hallmark/serve:1-cpu"}}
    assert names(workspace.runs) == {NEW}
    assert names(workspace.layouts) == names(workspace.work) == set() and builder.pruned == 1
    assert not workspace.contexts("").exists()
    assert names(cache) == {"sha256"}, "what was downloaded is not downloaded again"


def test_an_image_is_cleaned_though_a_run_that_was_killed_left_a_container_of_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    docker = FakeDocker()
    docker.tags = {digest(OLD): set()}
    container = docker.create(digest(OLD), name="hallmark-1")
    container.status, container.finished = "exited", "2024-01-01T00:00:00Z"
    clean(workspace, [docker.engine()], None, tmp_path / "cache", inputs=False)
    assert container.removed and not docker.tags


def test_what_another_run_holds_is_not_cleaned(workspace: Workspace) -> None:
    with workspace.claim(OTHER) as work:
        write(work / "half", "x")
        clean(workspace, [FakeDocker().engine()], FakeBuilder(), Path("/no/such/cache"), inputs=False)
        assert names(workspace.layouts) == names(workspace.runs) == {OTHER}
        assert names(workspace.work) == {work.name}
        assert (work / "half").exists()


def test_cleaning_everything_empties_the_cache_of_inputs(workspace: Workspace, tmp_path: Path) -> None:
    write(tmp_path / "cache/sha256/aa/x", "").chmod(0o444)
    clean(workspace, [FakeDocker().engine()], FakeBuilder(), tmp_path / "cache", inputs=True)
    assert not (tmp_path / "cache").exists()


def test_without_an_engine_evidence_is_kept_for_nobody_knows_which_is_needed(workspace: Workspace) -> None:
    clean(workspace, [], None, Path("/no/such/cache"), inputs=False)
    assert names(workspace.runs) == {OLD, NEW, OTHER, OLD_BASE, BASE}


@pytest.mark.parametrize("record", ["", "{", "[1]", "{}", '{"digest": 3}'])
def test_a_damaged_record_needs_nothing(record: str, workspace: Workspace) -> None:
    write(workspace.run(OLD) / "build.json", record)
    docker = FakeDocker()
    docker.tags = {digest(NEW): {"hallmark/serve:1-cpu"}}
    clean(workspace, [docker.engine()], FakeBuilder(), Path("/no/such/cache"), inputs=False)
    assert names(workspace.runs) == {NEW}


def test_what_was_freed_is_measured_on_the_disk(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        def __init__(self, free: int) -> None:
            self.free = free

    free = iter([Usage(1000), Usage(4000)])

    def disk_usage(path: Any) -> Usage:
        return next(free)

    monkeypatch.setattr("scripts.trim.shutil.disk_usage", disk_usage)
    assert clean(workspace, [], None, Path("/no/such/cache"), inputs=False) == 3000


def test_evidence_of_what_any_engine_has_tagged_is_kept_and_each_is_cleaned(workspace: Workspace) -> None:
    here, there = FakeDocker(), FarDocker()
    here.tags = {digest(NEW): {"hallmark/serve:1-cpu"}}
    there.tags = {digest(OLD): {"hallmark/serve:0-cpu"}, digest(OTHER): set()}
    carrier = there.create(digest(OTHER), name="hallmark-1")
    clean(workspace, [here.engine(), there.far_engine()], None, Path("/no/such/cache"), inputs=False)
    assert names(workspace.runs) == {NEW, OLD}
    assert set(there.tags) == {digest(OLD)} and carrier.removed, "it was made long ago, and never started"


def test_evidence_is_kept_where_an_engine_does_not_answer(workspace: Workspace) -> None:
    there = FarDocker()
    there.alive = False
    with pytest.raises(Undecided, match="the engine failed"):
        clean(workspace, [FakeDocker().engine(), there.far_engine()], None, Path("/no/such/cache"), inputs=False)
    assert names(workspace.runs) == {OLD, NEW, OTHER, OLD_BASE, BASE}
