"""What an earlier run built, and when it still counts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from scripts.build.build import Candidate, find_layout
from scripts.build.layout import Layout
from scripts.files import write_json
from scripts.workspace import Workspace
from tests.unit.builders import write
from tests.unit.publish.fake_registry import make_layout

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
