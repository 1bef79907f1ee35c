"""Layers as runs have kept them: what the digest does not vouch for is not believed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scripts.catalogue.layers import LayerPart, Shared, find_shared, read_layers
from scripts.pipeline.candidate import keep_image
from scripts.workspace import Workspace
from tests.unit.registry.fake_registry import make_layout

BUILD = "b" * 64


def test_layers_are_read_from_the_run_and_else_from_the_layout(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    layout = make_layout(workspace.layout(BUILD), "one")
    expected = tuple(LayerPart(each.digest, each.size) for each in layout.layers)
    assert read_layers(layout.digest, workspace.run(BUILD), layout.folder) == expected
    keep_image(workspace, BUILD, layout)
    shutil.rmtree(layout.folder)
    assert read_layers(layout.digest, workspace.run(BUILD), layout.folder) == expected


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"config": {}, "layers": [{}]}'])
def test_what_is_not_the_digests_is_none(data: bytes, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    layout = make_layout(tmp_path / "made", "one")
    keep_image(workspace, BUILD, layout)
    run, nowhere = workspace.run(BUILD), tmp_path / "nowhere"
    assert read_layers("sha256:" + "0" * 64, run, nowhere) == ()
    assert read_layers("../../elsewhere", run, nowhere) == ()
    (run / "config.json").write_bytes(data)
    assert {each.holds for each in read_layers(layout.digest, run, nowhere)} == {""}
    (run / "manifest.json").write_bytes(data)
    assert read_layers(layout.digest, run, nowhere) == ()


def test_words_of_another_configuration_are_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    layout = make_layout(tmp_path / "made", "one")
    keep_image(workspace, BUILD, layout)
    history = [{"created_by": f"hallmark: part {number}"} for number, _ in enumerate(layout.layers)]
    (workspace.run(BUILD) / "config.json").write_text(json.dumps({"history": history}))
    found = read_layers(layout.digest, workspace.run(BUILD), tmp_path / "nowhere")
    assert [each.holds for each in found] == [""] * len(history)


def test_what_is_shared_is_counted_once_and_the_most_comes_first() -> None:
    one, two, three = (LayerPart(f"sha256:{number}", number * 10) for number in (1, 2, 3))
    others = [("little", [one, one]), ("nothing", [three]), ("much", [two, one, three])]
    assert find_shared([one, two], others) == (Shared("much", 2, 30), Shared("little", 1, 10))
    assert find_shared([], others) == ()
