"""Layers that are kept: the same libraries without a byte of them read again, and damage is as good as nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.audit import shelf as module
from scripts.audit.images import read_layout
from scripts.audit.library import Library
from scripts.audit.shelf import LibraryShelf
from scripts.errors import Undecided
from scripts.files import canonical_json, content_id
from scripts.oci import blobs
from scripts.oci.descriptor import digest_of
from scripts.oci.layer import Found, Layer, Link, What
from tests.unit.audit.samples import PLAIN, SEVERAL, library
from tests.unit.oci.made import MadeImage, find_diff_id, make_tar, zstd

LOWER = zstd(make_tar(("usr/lib/a.so", PLAIN), ("lib", "link", "usr/lib"), ("d/", "folder", ""), ("b.so", SEVERAL)))
UPPER = make_tar((".wh.b.so", b""), ("usr/lib/a.so", b"text"), ("c.so", PLAIN), ("e.so", "hard", "c.so"))
FOUND = [library("c.so"), library("e.so")]
DIFF_ID = "sha256:" + "1" * 64


def make(folder: Path, *layers: bytes, **fields: Any) -> Path:
    image = MadeImage()
    return image.write(folder, image.add(layers, **fields))


def spoil(folder: Path, layer: bytes) -> None:
    """Whoever reads this blob from now on notices."""
    (folder / "blobs/sha256" / digest_of(layer)[7:]).write_bytes(b"x")


def read(folder: Path, kept: Path) -> list[Library]:
    return read_layout(folder, lambda text: None, kept)


def test_another_image_costs_its_new_layers_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert read(make(tmp_path / "one", LOWER), kept) == [library("b.so", SEVERAL), library("usr/lib/a.so")]
    other = make(tmp_path / "other", LOWER, UPPER)
    spoil(other, LOWER)
    assert read(other, kept) == FOUND
    assert {path.name for path in kept.iterdir()} == {f"{find_diff_id(layer)[7:]}.json" for layer in (LOWER, UPPER)}


def test_a_layer_that_is_compressed_in_another_way_is_known(tmp_path: Path) -> None:
    read(make(tmp_path / "one", UPPER), tmp_path / "kept")
    other = make(tmp_path / "other", zstd(UPPER))
    spoil(other, zstd(UPPER))
    assert read(other, tmp_path / "kept") == FOUND


def test_what_was_read_counts_though_a_later_layer_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_AT_A_TIME", 1)
    with pytest.raises(Undecided):
        read(make(tmp_path / "one", LOWER, b"no tar" * 1000), tmp_path / "kept")
    other = make(tmp_path / "other", LOWER, UPPER)
    spoil(other, LOWER)
    assert read(other, tmp_path / "kept") == FOUND


def test_a_layer_of_other_plain_bytes_is_damage_and_is_not_kept(tmp_path: Path) -> None:
    folder = make(tmp_path / "one", UPPER, diff_ids=[DIFF_ID])
    with pytest.raises(Undecided, match=f"plain bytes hash to {digest_of(UPPER)}.*{DIFF_ID}"):
        read(folder, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_kept_layer_does_not_stand_in_for_an_image_that_does_not_name_it(tmp_path: Path) -> None:
    read(make(tmp_path / "one", LOWER), tmp_path / "kept")
    with pytest.raises(Undecided, match="1 layers, and 2 of them"):
        read(make(tmp_path / "two", LOWER, diff_ids=[find_diff_id(LOWER)] * 2), tmp_path / "kept")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: b"[]",
        lambda data: b"\xff" + data,
        lambda data: data.replace(b"b.so", b"x.so"),
        lambda data: data.replace(b"sha256:", b"sha256;"),
        lambda data: data.replace(b'"version":[', b'"version":[9,'),
        lambda data: canonical_json(json.loads(data) | {"entries": [], "check": "0"}),
        lambda data: canonical_json(json.loads(data) | {"entries": [1], "check": content_id([1])}),
        lambda data: canonical_json(json.loads(data) | {"entries": [["x", "?"]], "check": content_id([["x", "?"]])}),
        lambda data: canonical_json(json.loads(data) | {"diff_id": DIFF_ID}),
    ],
)
def test_a_damaged_note_is_read_again_and_mended(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder, kept = make(tmp_path / "one", LOWER, UPPER), tmp_path / "kept"
    read(folder, kept)
    note = kept / f"{find_diff_id(LOWER)[7:]}.json"
    good = note.read_bytes()
    assert damage(good) != good
    note.write_bytes(damage(good))
    assert read(folder, kept) == FOUND
    assert note.read_bytes() == good


def test_a_reader_that_finds_something_else_believes_no_old_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "one", LOWER)
    read(folder, tmp_path / "kept")
    spoil(folder, LOWER)
    monkeypatch.setattr(module, "VERSION", [1, module.VERSION[1] + 1])
    with pytest.raises(Undecided, match="has 1 of"):
        read(folder, tmp_path / "kept")


PATHS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=5).map(
    lambda name: f"a/{name}"
)
WHAT: st.SearchStrategy[What[Library]] = st.one_of(
    st.sampled_from(["file", "directory", "whiteout", "opaque"]),
    st.builds(Link, st.text(max_size=5), st.booleans()),
    st.sampled_from([Found(library("x")), Found(library("y", SEVERAL)), Found(Library("z", (), "a fault"))]),
)


@given(st.lists(st.tuples(PATHS, WHAT), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_layer_comes_back_as_it_was(tmp_path: Path, entries: list[tuple[str, What[Library]]]) -> None:
    shelf = LibraryShelf(tmp_path / "kept")
    shelf.keep(Layer(entries, DIFF_ID))
    assert shelf.recall(DIFF_ID) == Layer(entries, DIFF_ID)


def test_plain_files_take_no_more_than_their_names(tmp_path: Path) -> None:
    shelf = LibraryShelf(tmp_path / "kept")
    paths = [f"usr/share/doc/package/file{number}" for number in range(1000)]
    shelf.keep(Layer([(path, "file") for path in paths], DIFF_ID))
    [note] = (tmp_path / "kept").iterdir()
    assert note.stat().st_size < sum(map(len, paths)) + 3 * len(paths) + 500
