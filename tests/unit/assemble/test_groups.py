from __future__ import annotations

import random

import pytest

from scripts.assemble.groups import LARGE, group


def test_large_distributions_have_their_own_layer_and_the_others_share_one() -> None:
    sizes = [("triton", LARGE), ("six", 10), ("torch", 10 * LARGE), ("click", LARGE - 1)]
    assert group(sizes) == [("torch",), ("triton",), ("click", "six")]


def test_the_order_they_come_in_says_nothing() -> None:
    sizes = [(f"d{number}", number * 7_000_000) for number in range(12)]
    shuffled = random.Random(1).sample(sizes, len(sizes))
    assert group(shuffled) == group(sizes)


def test_another_small_distribution_leaves_the_large_ones_alone() -> None:
    sizes = [("torch", LARGE), ("six", 10)]
    assert set(group([*sizes, ("click", 5)])) - set(group(sizes)) == {("click", "six")}


@pytest.mark.parametrize("small", [0, 1, 5])
def test_there_are_never_more_layers_than_an_engine_takes(small: int) -> None:
    sizes = [(f"big{number:03}", LARGE + number) for number in range(150)] + [(f"s{n}", 1) for n in range(small)]
    layers = group(sizes)
    assert len(layers) == 100
    assert layers[0] == ("big051",), "the largest keep their own"
    assert sorted(name for layer in layers for name in layer) == sorted(name for name, _ in sizes)


def test_as_many_as_fit_are_left_alone() -> None:
    sizes = [(f"big{number}", LARGE) for number in range(100)]
    assert len(group(sizes)) == 100 and all(len(layer) == 1 for layer in group(sizes))
    assert len(group([*sizes, ("six", 1)])) == 100


def test_nothing_makes_no_layer() -> None:
    assert group([]) == []


def test_a_distribution_listed_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        group([("six", 1), ("six", 2)])
