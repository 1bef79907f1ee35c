from __future__ import annotations

import pytest

from scripts.matrix import Tags, compose_tags
from scripts.matrix.tags import versioned_part
from tests.unit.builders import CPU, RTX, make_cell

BUILD = "abcdef0123456789"


def test_a_cells_tags_are_its_variant_with_more_and_more_before_and_behind() -> None:
    assert compose_tags(make_cell(RTX, "wheel"), "0.29.0", BUILD) == Tags(
        "serve", "cu128-5090-wheel", "0.29.0-cu128-5090-wheel", "0.29.0-cu128-5090-wheel-abcdef012345"
    )


def test_the_order_of_promotion_goes_from_what_never_moves_to_what_moves_most() -> None:
    tags = compose_tags(make_cell(CPU, "wheel"), "0.29.0", BUILD)
    assert tags.all == (tags.fixed, "0.29.0-cpu", "cpu") == (tags.fixed, *tags.moving)


@pytest.mark.parametrize(
    ("tag", "own"),
    [
        ("cpu", True),
        ("0.29.0-cpu", True),
        ("0.29.0-cpu-abcdef012345", True),
        ("0.29.0-cpu-000000000000", True),
        ("0.28.0-cpu", False),
        ("cpu-abcdef012345", False),
        ("0.29.0-cpu-abcdef01234", False),
        ("0.29.0-cpu-wheel", False),
        ("cpu-wheel", False),
        ("", False),
    ],
)
def test_a_cell_owns_its_tags_and_no_others(tag: str, own: bool) -> None:
    assert compose_tags(make_cell(CPU, "wheel"), "0.29.0", BUILD).own(tag) is own


@pytest.mark.parametrize(
    ("tag", "part"),
    [("1.0-cpu-abcdef012345", "1.0-cpu"), ("1.0-cpu", ""), ("cpu", ""), ("1.0-cpu-abcdef01234g", ""), ("", "")],
)
def test_the_tag_of_a_build_is_told_by_its_end(tag: str, part: str) -> None:
    assert versioned_part(tag) == part
