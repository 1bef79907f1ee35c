from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.build.layout import Layout
from scripts.errors import BuildFailed, ExitCode
from tests.unit.registry.fake_registry import make_layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "layout", "candidate")


def test_a_good_layout_is_opened_and_found_whole(layout: Layout) -> None:
    layout.verify()
    assert layout.digest.startswith("sha256:")
    assert layout.read_config() == {"name": "candidate"}
    assert [layout.blob_path(blob.digest).read_bytes() for blob in layout.layers] == [
        b"candidate one",
        b"candidate two",
    ]
    assert layout.size == sum(blob.size for blob in (layout.config, *layout.layers))
    assert Layout.open(layout.folder) == layout


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize(
    ("damage", "why"),
    [("missing", "is missing"), ("truncated", "bytes"), ("empty", "has 0 of"), ("altered", "hashes to sha256:")],
)
def test_a_damaged_blob_is_named(which: str, damage: str, why: str, layout: Layout) -> None:
    blob = {"manifest": layout.manifest, "config": layout.config, "layer": layout.layers[1]}[which]
    path = layout.blob_path(blob.digest)
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"truncated": data[:-1], "empty": b"", "altered": data[:-1] + b"\0"}[damage])
    with pytest.raises(BuildFailed, match=why) as caught:
        layout.verify()
    assert blob.digest in str(caught.value) and str(layout.folder) in str(caught.value)
    assert caught.value.exit_code is ExitCode.BUILD_FAILED


def test_a_whole_layout_has_all_bytes(layout: Layout) -> None:
    assert layout.has_all_bytes()


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "longer"])
def test_a_layout_that_lacks_bytes_is_noticed_without_hashing(which: str, damage: str, layout: Layout) -> None:
    blob = {"manifest": layout.manifest, "config": layout.config, "layer": layout.layers[1]}[which]
    path = layout.blob_path(blob.digest)
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"truncated": data[:-1], "empty": b"", "longer": data + b" "}[damage])
    assert not layout.has_all_bytes()


@pytest.mark.parametrize("manifest", [b"[]", b"{}", b'{"config": 1}', b"\xff", b'{"config": {"digest": "x"}}'])
def test_a_manifest_that_is_none_has_no_bytes_behind_it(manifest: bytes, layout: Layout) -> None:
    path = layout.blob_path(layout.digest)
    path.write_bytes(manifest.ljust(path.stat().st_size))
    assert not layout.has_all_bytes()


def test_every_damaged_blob_is_named_at_once(layout: Layout) -> None:
    for blob in layout.layers:
        layout.blob_path(blob.digest).write_bytes(b"")
    with pytest.raises(BuildFailed) as caught:
        layout.verify()
    assert all(blob.digest in str(caught.value) for blob in layout.layers)


def entry(**fields: Any) -> dict[str, Any]:
    return {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1} | fields


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(b"", id="empty file"),
        pytest.param(b'{"manifests": [', id="cut short"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no manifests"),
        pytest.param(b'{"manifests": []}', id="none"),
        pytest.param(json.dumps({"manifests": [entry(), entry()]}).encode(), id="two"),
        pytest.param(json.dumps({"manifests": [{"digest": "sha256:0"}]}).encode(), id="half a descriptor"),
        pytest.param(json.dumps({"manifests": [entry(size="many")]}).encode(), id="size in words"),
        pytest.param(json.dumps({"manifests": [1]}).encode(), id="a number"),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
def test_an_index_of_anything_but_one_image_is_no_layout(index: bytes, layout: Layout) -> None:
    (layout.folder / "index.json").write_bytes(index)
    with pytest.raises(BuildFailed, match=r"not a complete OCI layout[\s\S]*build the cell again"):
        Layout.open(layout.folder)


def test_a_folder_without_an_index_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"FileNotFoundError"):
        Layout.open(tmp_path)
