"""What an earlier run built, and when it still counts."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from scripts.build import build as module
from scripts.build.build import DISK_FACTOR, Candidate, export, find_layout, make_build
from scripts.build.inputs import Inputs
from scripts.build.layout import Blob, Layout
from scripts.build.steps import Step
from scripts.buildkit.builder import EngineBuilder
from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.files import write_json
from scripts.workspace import Workspace
from tests.unit.builders import EPOCH, lock_bytes, make_image, write
from tests.unit.fake_docker import FakeDocker, FakeEngine
from tests.unit.registry.fake_registry import make_layout

BUILD_ID = "1" * 64


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def layout(workspace: Workspace) -> Layout:
    layout = make_layout(workspace.layout(BUILD_ID), "serve-cpu")
    candidate = Candidate("serve-cpu", BUILD_ID, layout.digest, layout.size, 1.0)
    write_json(workspace.run(BUILD_ID) / "build.json", asdict(candidate))
    return layout


def test_a_layout_that_was_recorded_is_found(workspace: Workspace, layout: Layout) -> None:
    assert find_layout(workspace, BUILD_ID) == layout


def test_what_was_never_built_is_not_found(workspace: Workspace) -> None:
    assert find_layout(workspace, BUILD_ID) is None


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"name": "serve-cpu"}'])
def test_a_layout_whose_record_is_damaged_is_none(record: str, workspace: Workspace, layout: Layout) -> None:
    write(workspace.run(BUILD_ID) / "build.json", record)
    assert find_layout(workspace, BUILD_ID) is None


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_layout_that_lacks_bytes_is_none(which: str, damage: str, workspace: Workspace, layout: Layout) -> None:
    blob = {"manifest": layout.manifest, "config": layout.config, "layer": layout.layers[0]}[which]
    path = layout.blob_path(blob.digest)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert find_layout(workspace, BUILD_ID) is None


def test_a_layout_without_an_index_is_none(workspace: Workspace, layout: Layout) -> None:
    (layout.folder / "index.json").unlink()
    assert find_layout(workspace, BUILD_ID) is None


# --- a step as BuildKit gets it

INPUTS = Inputs(Path("/w/context"), Path("/w/inputs"), Path("/w/tools"))


def test_a_step_without_a_parent_is_built_from_its_inputs() -> None:
    build = make_build(replace(STEP, compression="gzip"), INPUTS, None, Path("/w/layout"), cached=True)
    assert (build.context, build.destination) == (INPUTS.context, Path("/w/layout"))
    assert build.contexts == {"inputs": "/w/inputs", "tools": "/w/tools"}
    assert build.arguments == {"SOURCE_DATE_EPOCH": str(EPOCH)}
    assert build.labels["io.hallmark.build-id"] == BUILD_ID
    assert (build.compression, build.cached) == ("gzip", True)


def test_a_parent_comes_in_by_digest_and_is_named_in_the_labels() -> None:
    digest = "sha256:" + "d" * 64
    parent = Layout(Path("/layouts/p"), Blob(digest, 1, "m"))
    build = make_build(replace(STEP, parent=STEP), INPUTS, parent, Path("/w/layout"), cached=False)
    assert build.contexts["parent"] == f"oci-layout:///layouts/p@{digest}"
    assert build.labels["org.opencontainers.image.base.digest"] == digest
    assert not build.cached


# --- room for a build


class Disk:
    """A disk with so much free, of which emptying BuildKit's cache gives some back."""

    def __init__(self, free: int, cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.cache = free, cache
        self.pruned = 0
        monkeypatch.setattr(module, "free_bytes", lambda path: self.free)
        monkeypatch.setattr(FakeEngine, "query", lambda _, arguments: self._query(arguments))

    def _query(self, arguments: list[str]) -> str:
        assert arguments == ["builder", "prune", "--all", "--force"]
        self.pruned += 1
        self.free, self.cache = self.free + self.cache, 0
        return ""


STEP = Step("base", make_image(Path("/no/image")), None, (lock_bytes(b"x" * 100, kind="deb"),), (), EPOCH, {}, BUILD_ID)
NEEDED = DISK_FACTOR * 5 * 100  # of a package of 100 bytes, which are five times that once installed


class BegunError(Exception):
    """The build was begun."""


def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, embedded: bool = True) -> None:
    def lay_out(*_: object) -> None:
        raise BegunError

    monkeypatch.setattr(module, "lay_out", lay_out)
    engine = FakeDocker().engine(embedded=embedded)
    builder = EngineBuilder(engine)
    export(STEP, builder, Cache(tmp_path / "cache"), tmp_path / "work", None, tmp_path / "log", lambda text: None)


def test_a_build_with_room_begins_and_keeps_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(2 * NEEDED, 1, monkeypatch)
    with pytest.raises(BegunError):
        begin(tmp_path, monkeypatch)
    assert disk.pruned == 0


@pytest.mark.parametrize("free", [2 * NEEDED - 1, NEEDED - 1])
def test_the_cache_goes_where_the_build_may_need_its_room(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(free, 1, monkeypatch)
    with pytest.raises(BegunError):
        begin(tmp_path, monkeypatch)
    assert disk.pruned


def test_a_disk_too_small_even_then_is_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(NEEDED - 2, 1, monkeypatch)
    with pytest.raises(Undecided, match=r"building and storing base can take 1.5 kB; 1.5 kB are free") as caught:
        begin(tmp_path, monkeypatch)
    assert disk.pruned and "nox -s clean" in caught.value.problems[0].next_step


def test_a_hosts_own_cache_is_left_to_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(NEEDED - 1, 1, monkeypatch)
    with pytest.raises(Undecided):
        begin(tmp_path, monkeypatch, embedded=False)
    assert disk.pruned == 0
