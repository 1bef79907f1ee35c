"""From a manifest or an index to an image's layers. What is no image at all: tests/unit/audit/test_images.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import Undecided
from scripts.oci.descriptor import Descriptor, digest_of, parse_descriptor
from scripts.oci.image import OciImage, check_config, find_manifest, read_image
from scripts.oci.layer import Found, Layer
from scripts.oci.layout import LayoutStore
from tests.unit.oci.made import PLAIN, MadeImage, Thing, find_diff_id, keep_thing, make_tar, platform, zstd

LAYERS = [make_tar(("a", PLAIN)), zstd(make_tar((".wh.a", b""), ("b", PLAIN)))]


def find(image: MadeImage, *entries: dict[str, Any]) -> OciImage:
    index = json.dumps({"manifests": entries}).encode()
    return find_manifest(index, None, lambda blob: image.blobs[blob.digest], "here")


def test_an_image_is_found_with_its_bytes_and_its_blobs() -> None:
    image = MadeImage()
    entry = image.add(LAYERS)
    found = find(image, entry)
    assert found.manifest == parse_descriptor(entry) and found.data == image.blobs[entry["digest"]]
    assert [blob.digest for blob in found.layers] == [digest_of(layer) for layer in LAYERS]
    assert found.size == sum(map(len, LAYERS))


def test_a_manifest_that_was_asked_for_is_the_image() -> None:
    image = MadeImage()
    entry = image.add(LAYERS)
    data, top = image.blobs[entry["digest"]], parse_descriptor(entry)
    found = find_manifest(data, top, lambda blob: pytest.fail("nothing else is asked for"), "here")
    assert (found.digest, found.data) == (entry["digest"], data)
    with pytest.raises(Undecided, match="no index"):
        find_manifest(data, None, lambda blob: b"", "here")


def test_the_names_of_a_layout_are_to_be_one_image_and_those_of_an_index_are_choices() -> None:
    image = MadeImage()
    one, two = image.add(LAYERS, **platform("amd64")), image.add(LAYERS[:1], **platform("amd64"))
    with pytest.raises(Undecided, match="2 images in one layout"):
        find(image, one, two)
    assert find(image, one, one).digest == one["digest"]
    assert find(image, image.add_index(one, two)).digest == one["digest"]


def test_the_configuration_gives_the_diff_ids_or_is_refused() -> None:
    image = MadeImage()
    found = find(image, image.add(LAYERS))
    config = image.blobs[found.config.digest]
    assert check_config(config, found, "here") == [find_diff_id(layer) for layer in LAYERS]
    for changed, words in (
        ({"architecture": "arm64"}, "for linux/arm64"),
        ({"rootfs": {"diff_ids": ["sha256:0", "sha256:1"]}}, "without a digest for each layer"),
        ({"rootfs": {"diff_ids": [digest_of(b"")]}}, "2 layers, and 1 of them"),
    ):
        with pytest.raises(Undecided, match=words):
            check_config(json.dumps(json.loads(config) | changed).encode(), found, "here")


class Shelf:
    """Layers in a dict."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer[Thing]] = {}

    def recall(self, diff_id: str) -> Layer[Thing] | None:
        return self.layers.get(diff_id)

    def keep(self, layer: Layer[Thing]) -> None:
        self.layers[layer.diff_id] = layer


class Watched(LayoutStore):
    """A layout that notes what is opened."""

    opened: list[str] = []  # noqa: RUF012  emptied by each test

    def open(self, blob: Descriptor) -> Any:
        self.opened.append(blob.digest)
        return super().open(blob)


def test_what_is_on_the_shelf_is_not_read_and_what_is_read_goes_there(tmp_path: Path) -> None:
    image = MadeImage()
    entry = image.add(LAYERS)
    found, shelf = find(image, entry), Shelf()
    store = Watched(image.write(tmp_path / "layout", entry))
    shelf.keep(Layer([("kept", Found(Thing("kept")))], find_diff_id(LAYERS[0])))
    store.opened.clear()
    lower, upper = read_image(found, store, "here", keep_thing, lambda text: None, shelf)
    assert lower.entries == [("kept", Found(Thing("kept")))]
    assert upper.entries == [("a", "whiteout"), ("b", Found(Thing("b")))]
    assert store.opened == [found.config.digest, digest_of(LAYERS[1])]
    assert list(shelf.layers) == [find_diff_id(layer) for layer in LAYERS]
    store.opened.clear()
    assert read_image(found, store, "here", keep_thing, lambda text: None, shelf) == [lower, upper]
    assert store.opened == [found.config.digest]


def test_a_shelf_that_gives_another_layer_is_not_believed(tmp_path: Path) -> None:
    class Wrong(Shelf):
        def recall(self, diff_id: str) -> Layer[Thing] | None:
            return Layer([], digest_of(b"other"))

    image = MadeImage()
    entry = image.add(LAYERS)
    store = LayoutStore(image.write(tmp_path / "layout", entry))
    with pytest.raises(Undecided, match="plain bytes hash to"):
        read_image(find(image, entry), store, "here", keep_thing, lambda text: None, Wrong())


def test_a_blob_that_stands_for_two_layers_is_held_against_both(tmp_path: Path) -> None:
    image = MadeImage()
    entry = image.add([LAYERS[0]] * 2, diff_ids=[digest_of(b"other"), find_diff_id(LAYERS[0])])
    store = LayoutStore(image.write(tmp_path / "layout", entry))
    with pytest.raises(Undecided, match=f"says {digest_of(b'other')}"):
        read_image(find(image, entry), store, "here", keep_thing, lambda text: None)
