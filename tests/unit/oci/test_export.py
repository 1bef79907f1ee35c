"""Exports, for any visitor. The engine that makes them: tests/unit/audit/test_local.py."""

from __future__ import annotations

import io

import pytest

from scripts.errors import Undecided
from scripts.oci import export as module
from scripts.oci.export import read_export
from scripts.oci.layer import Found, Layer
from tests.unit.oci.made import PLAIN, MadeImage, Thing, find_diff_id, keep_thing, make_tar, zstd

LAYERS = [make_tar(("a", PLAIN)), zstd(make_tar((".wh.a", b""), ("b", PLAIN)))]


def read(data: bytes) -> list[Layer[Thing]]:
    return read_export(io.BytesIO(data), "export", keep_thing)


def test_the_layers_come_in_their_order_whatever_the_archive_s() -> None:
    image = MadeImage()
    found = read(image.export(image.add(LAYERS)))
    assert [layer.diff_id for layer in found] == [find_diff_id(layer) for layer in LAYERS]
    assert found[1].entries == [("a", "whiteout"), ("b", Found(Thing("b")))]


def test_documents_beyond_what_is_kept_are_missing_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    image = MadeImage()
    data = image.export(image.add(LAYERS))
    monkeypatch.setattr(module, "MOST_JSON", 100)
    with pytest.raises(Undecided, match="is not in it"):
        read(data)


def test_an_archive_of_anything_else_is_undecided() -> None:
    with pytest.raises(Undecided, match="no OCI layout in it"):
        read(make_tar(("manifest.json", b"[]")))
    with pytest.raises(Undecided, match="no tar entry"):
        read(b"x" * 1000)
