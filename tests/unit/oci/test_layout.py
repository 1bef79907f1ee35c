from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import BuildFailed, ExitCode, Undecided
from scripts.oci.descriptor import LARGEST_JSON, OCI_CONFIG, OCI_MANIFEST, Descriptor, describe
from scripts.oci.layout import Layout, LayoutStore, create_layout
from tests.unit.oci.made import MadeImage
from tests.unit.registry.fake_registry import make_layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "layout", "candidate")


def test_a_good_layout_is_opened_and_found_whole(layout: Layout) -> None:
    layout.verify()
    assert layout.digest.startswith("sha256:")
    assert layout.read_config()["name"] == "candidate"
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


@pytest.mark.parametrize("digest", ["sha256:../../x", "../x:y", "sha256:" + "../" * 21 + "a", "sha256", ""])
def test_no_digest_leads_out_of_the_layout(digest: str, layout: Layout) -> None:
    with pytest.raises(BuildFailed, match="no sha256 digest"):
        layout.blob_path(digest)
    manifest = layout.read_manifest() | {"config": {"digest": digest, "size": 1, "mediaType": "x"}}
    made = create_layout(layout.folder, json.dumps(manifest).encode())
    assert not made.has_all_bytes()
    for act in (made.verify, made.read_config, lambda: made.size):
        with pytest.raises(BuildFailed, match="where a sha256 digest belongs"):
            act()
    (layout.folder / "index.json").write_text(json.dumps({"manifests": [entry(digest=digest)]}))
    with pytest.raises(BuildFailed, match="where a sha256 digest belongs"):
        Layout.open(layout.folder)


@pytest.mark.parametrize(
    ("rootfs", "words"),
    [
        ({"diff_ids": ["sha256:" + "0" * 64]}, "2 layers, and 1 of them"),
        ({"diff_ids": ["sha256:" + "0" * 64] * 3}, "2 layers, and 3 of them"),
        ({"diff_ids": ["sha256:0", "sha256:1"]}, "without a digest for each layer"),
        ({}, "without a digest for each layer"),
        (None, "without a digest for each layer"),
    ],
)
def test_a_configuration_that_does_not_name_each_layer_is_refused(rootfs: Any, words: str, layout: Layout) -> None:
    config = json.dumps({"rootfs": rootfs}).encode()
    described = describe(config, OCI_CONFIG)
    (layout.folder / described.path).write_bytes(config)
    made = create_layout(layout.folder, json.dumps(layout.read_manifest() | {"config": described.to_json()}).encode())
    with pytest.raises(BuildFailed, match=words):
        made.verify()


def test_a_layout_is_made_around_the_blobs_that_are_there(layout: Layout, tmp_path: Path) -> None:
    shutil.copytree(layout.folder / "blobs", tmp_path / "new/blobs")
    manifest = layout.blob_path(layout.digest)
    (tmp_path / "new/blobs/sha256" / manifest.name).unlink()
    made = create_layout(tmp_path / "new", manifest.read_bytes())
    made.verify()
    assert made == Layout.open(tmp_path / "new")
    assert made.manifest == Descriptor(layout.digest, manifest.stat().st_size, OCI_MANIFEST)
    assert json.loads((tmp_path / "new/oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}


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


def test_a_pipe_in_place_of_a_blob_or_an_index_is_not_waited_for(tmp_path: Path) -> None:
    image = MadeImage()
    folder = image.write(tmp_path / "layout", image.add([b""]))
    blob = next((folder / "blobs/sha256").iterdir())
    blob.unlink()
    os.mkfifo(blob)
    store = LayoutStore(folder)
    descriptor = Descriptor(f"sha256:{blob.name}", 1, "")
    with pytest.raises(Undecided, match="not a plain file"), store.open(descriptor):
        pass
    (folder / "index.json").unlink()
    os.mkfifo(folder / "index.json")
    with pytest.raises(Undecided, match=r"index\.json: not a plain file"):
        store.read_index()


def test_an_index_that_does_not_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(b'{"manifests": [' + b"{}," * (LARGEST_JSON // 3) + b"{}]}")
    with pytest.raises(Undecided, match=f"index.json has more than {LARGEST_JSON} bytes"):
        LayoutStore(tmp_path).read_index()
