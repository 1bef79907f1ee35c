from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.assemble.image import MOST_LAYERS, TopLayer, compose, extend
from scripts.assemble.layer import MTIME, write_layer
from scripts.assemble.tree import make_file
from scripts.errors import BuildFailed
from scripts.files import canonical_json
from scripts.oci.descriptor import OCI_CONFIG, OCI_MANIFEST
from scripts.oci.layout import Layout
from tests.unit.oci.made import MadeImage, find_diff_id, make_tar

CREATED = "2023-11-14T22:13:20Z"
BELOW = make_tar(("etc/below", b"below"))
SETTINGS = {"User": "1000:1000", "Env": ["A=1"], "Entrypoint": ["/bin/x"], "Labels": {"a": "b"}}


@pytest.fixture
def shell(tmp_path: Path) -> Layout:
    made = MadeImage()
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": SETTINGS,
        "rootfs": {"type": "layers", "diff_ids": [find_diff_id(BELOW)]},
        "history": [{"created_by": "COPY"}, {"created_by": "ENV", "empty_layer": True}],
    }
    manifest = {
        "config": made.keep(canonical_json(config), OCI_CONFIG),
        "layers": [made.keep(BELOW, "application/vnd.oci.image.layer.v1.tar")],
    }
    return Layout.open(made.write(tmp_path / "shell", made.keep(canonical_json(manifest), OCI_MANIFEST)))


@pytest.fixture
def top(tmp_path: Path) -> TopLayer:
    packed = write_layer([make_file("opt/a", b"a")], tmp_path / "kept", "zstd", MTIME, 1)
    return TopLayer("torch 2.0", packed, tmp_path / "kept" / packed.digest.removeprefix("sha256:"))


def test_layers_lie_on_a_shell_whose_settings_stay(shell: Layout, top: TopLayer, tmp_path: Path) -> None:
    made = compose(shell, [top], tmp_path / "made", CREATED)
    made.verify()
    config = made.read_config()
    assert config["config"] == SETTINGS and config["architecture"] == "amd64"
    assert made.diff_ids == (find_diff_id(BELOW), top.packed.diff_id)
    # BuildKit's own entries are not kept: its versions word them differently.
    assert config["history"] == [
        {"created": CREATED, "created_by": "hallmark: Dockerfile"},
        {"created": CREATED, "created_by": "hallmark: torch 2.0"},
    ]
    assert [(blob.digest, blob.size, blob.media_type) for blob in made.layers] == [
        (shell.layers[0].digest, len(BELOW), shell.layers[0].media_type),
        (top.packed.digest, top.packed.size, top.packed.media_type),
    ]
    assert made.read_manifest()["mediaType"] == OCI_MANIFEST


@pytest.mark.parametrize("words", [["/bin/x", "y"], None])
def test_what_comes_before_the_entry_point_is_all_that_is_changed(
    words: list[str] | None, top: TopLayer, tmp_path: Path, shell: Layout
) -> None:
    """An image without an entry point runs its command, or what its user says, after these words."""
    config = shell.read_config()
    config["config"] = SETTINGS | {"Entrypoint": words, "Cmd": ["python"]}
    made = extend(config, 1, [top], CREATED, ["guard"])
    assert made["config"] == SETTINGS | {"Entrypoint": ["guard", *(words or [])], "Cmd": ["python"]}


def test_the_same_layers_are_the_same_image_and_no_copies(shell: Layout, top: TopLayer, tmp_path: Path) -> None:
    one, two = (compose(shell, [top], tmp_path / name, CREATED) for name in ("one", "two"))
    assert one.digest == two.digest
    assert one.blob_path(top.packed.digest).samefile(top.blob)
    assert json.loads((one.folder / "index.json").read_bytes())["manifests"][0]["digest"] == one.digest


def test_more_layers_than_engines_stack_are_refused(shell: Layout, top: TopLayer, tmp_path: Path) -> None:
    compose(shell, [top] * (MOST_LAYERS - 1), tmp_path / "most", CREATED)
    with pytest.raises(BuildFailed, match="128 layers, and engines stack 127"):
        compose(shell, [top] * MOST_LAYERS, tmp_path / "more", CREATED)
    assert not (tmp_path / "more").exists()
