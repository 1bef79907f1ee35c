from __future__ import annotations

from pathlib import Path

import pytest

from scripts.assemble.disputes import settle
from scripts.assemble.layers import Distribution
from scripts.errors import ConfigError
from scripts.matrix import Overlap
from tests.unit.assemble.kit import MODULES, make_distribution

PLACE = "images/serve/image.toml"


@pytest.fixture
def two(tmp_path: Path) -> list[Distribution]:
    return [
        make_distribution(tmp_path, "one", a__x_py=b"one", a__y_py=b"one", same_py=b"same"),
        make_distribution(tmp_path, "two", a__x_py=b"two", a__y_py=b"two", same_py=b"same"),
    ]


def test_a_rule_says_whose_files_lie_on_top(two: list[Distribution]) -> None:
    winners = settle(two, [Overlap("a/x.py", "two", "why"), Overlap("a/*", "one", "why")], "3.11", PLACE)
    assert [(entry.path, entry.read()) for entry in winners] == [
        (f"{MODULES}/a/x.py", b"two"),
        (f"{MODULES}/a/y.py", b"one"),
    ]


def test_what_no_rule_settles_is_said_all_at_once(two: list[Distribution]) -> None:
    with pytest.raises(ConfigError) as caught:
        settle(two, [Overlap("b/*", "one", "why")], "3.11", PLACE)
    texts = [problem.cause for problem in caught.value.problems]
    assert "one and two write 2 paths with different bytes: a/x.py, a/y.py" in texts
    assert "decides nothing" in texts
    assert all(problem.place.startswith(PLACE) for problem in caught.value.problems)


def test_equal_bytes_are_no_dispute(two: list[Distribution], tmp_path: Path) -> None:
    assert settle([two[0], make_distribution(tmp_path, "three", same_py=b"same")], [], "3.11", PLACE) == []
