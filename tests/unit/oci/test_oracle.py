"""Layers that can be read in several ways: here as an engine reads them. What it made of them is in tests/data.

`nox -s tar-oracle -- --keep` writes that file, and compares a hundred times as many.
"""

from __future__ import annotations

import base64
import json
import zlib

import pytest

from tests.tar_oracle.__main__ import find_kind
from tests.tar_oracle.compare import CORPUS, compare
from tests.tar_oracle.made import make_image

CASES = json.loads(CORPUS.read_text())


def test_there_are_images_of_every_kind() -> None:
    kinds = [find_kind(case["answer"]) for case in CASES]
    assert {kind: kinds.count(kind) >= 8 for kind in ("files", "refused", "odd", "disagree")} == dict.fromkeys(
        kinds, True
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["number"]))
def test_an_image_has_the_files_that_an_engine_unpacks(case: dict[str, object]) -> None:
    layers = [zlib.decompress(base64.b64decode(layer)) for layer in case["layers"]]  # type: ignore[attr-defined]
    assert compare(layers, case["answer"]) == ""  # type: ignore[arg-type]


def test_an_image_is_made_from_its_number_alone() -> None:
    assert make_image(7) == make_image(7) != make_image(8)
