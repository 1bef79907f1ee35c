"""What an earlier run built, and when it still counts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from scripts.build import build as module
from scripts.build.build import DISK_FACTOR, Candidate, export, find_layout
from scripts.build.steps import Step
from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.files import write_json
from scripts.oci.layout import Layout
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
    export(STEP, engine, Cache(tmp_path / "cache"), tmp_path / "work", None, tmp_path / "log", lambda text: None)


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
