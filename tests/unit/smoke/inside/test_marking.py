"""The marks that upstream's tests bear in the container: those of their own file, and of no other."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from marking import pytest_itemcollected

ASKED = [{"file": "kernels/test_a.py", "marks": ["quick", "alone"]}, {"file": "test_b.py", "marks": []}]


@pytest.mark.parametrize(
    ("file", "marks"),
    [
        ("tests/kernels/test_a.py", ["quick", "alone"]),
        ("tests/deeper/kernels/test_a.py", []),
        ("tests/test_b.py", []),
        ("tests/test_c.py", []),
    ],
)
def test_each_test_bears_the_marks_of_its_file(file: str, marks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_UPSTREAM", json.dumps(ASKED))
    given: list[str] = []
    pytest_itemcollected(SimpleNamespace(nodeid=f"{file}::test_one[a::b]", add_marker=given.append))
    assert given == marks
