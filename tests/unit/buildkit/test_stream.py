from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.buildkit.stream import Item, ObjectStream
from tests.unit.buildkit.streams import FORMS, compact, indented, output, vertex

MESSAGES = [vertex("a", "[1/2] RUN make"), output("a", b'{\n  "x": 1\n}\n'), {}]


def read(*lines: str) -> list[Item]:
    stream = ObjectStream()
    return [*(item for line in lines for item in stream.feed(line)), *stream.end()]


@pytest.mark.parametrize("form", FORMS)
def test_objects_are_put_together_again(form: str) -> None:
    assert read(*FORMS[form](*MESSAGES)) == MESSAGES


def test_an_object_is_there_with_its_last_line() -> None:
    stream = ObjectStream()
    *head, last = indented(MESSAGES[0])
    assert [item for line in head for item in stream.feed(line)] == []
    assert list(stream.feed(last)) == [MESSAGES[0]]


def test_several_objects_may_share_a_line() -> None:
    assert read("".join(compact(*MESSAGES)), "ERROR: x") == [*MESSAGES, "ERROR: x"]
    assert read(*("".join(line) for line in [indented(MESSAGES[0])])) == [MESSAGES[0]]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_object_is_text_in_its_place(form: str) -> None:
    excerpt = ["Dockerfile:2", "--------", "   1 | FROM scratch", "", "ERROR: failed to solve"]
    lines = [*FORMS[form](MESSAGES[0]), *excerpt, *FORMS[form](MESSAGES[1])]
    assert read(*lines) == [MESSAGES[0], *excerpt, MESSAGES[1]]


@pytest.mark.parametrize("form", FORMS)
def test_an_object_cut_short_is_text_and_hides_nothing_after_it(form: str) -> None:
    lines = FORMS[form](MESSAGES[0])
    cut = [*lines[:-1], lines[-1][:-1]] if form == "compact" else lines[:-1]
    assert read(*cut) == cut
    assert read(*cut, "ERROR: EOF") == [*cut, "ERROR: EOF"]
    assert read(*cut, *lines) == [*cut, MESSAGES[0]]


@pytest.mark.parametrize("line", ["{", "{x}", '{"a": ', "{]", '{"a": 1} and more', "}", "[]", "null"])
def test_lines_like_objects_are_not_lost(line: str) -> None:
    found = read(line, "after")
    assert found[-1] == "after"
    assert "".join(item if isinstance(item, str) else json.dumps(item) for item in found[:-1]).replace(" ", "") == (
        line.replace(" ", "")
    )


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
_OBJECTS = st.dictionaries(st.text(max_size=5), _JSON, max_size=3)
_WORDS = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=9).filter(
    lambda text: not text.startswith(("{", " ", "\t", "}", "]"))
)


@given(st.lists(_OBJECTS | _WORDS, max_size=8), st.sampled_from(sorted(FORMS)))
def test_whatever_comes_comes_out_in_its_order(items: list[Item], form: str) -> None:
    lines = [line for item in items for line in ([item] if isinstance(item, str) else FORMS[form](item))]
    assert read(*lines) == items


@given(st.lists(st.text(st.sampled_from('{}[]": a1,\t'), max_size=6), max_size=12))
def test_no_line_of_text_is_lost(lines: list[str]) -> None:
    found = read(*lines)
    if all(isinstance(item, str) for item in found):
        blanks = str.maketrans("", "", " \t")
        assert "".join(map(str, found)).translate(blanks) == "".join(lines).translate(blanks)


@pytest.mark.parametrize("line", ['{"a": ' + "9" * 5000 + "}", '{"a":' * 3000 + "1" + "}" * 3000])
def test_an_object_that_cannot_be_read_is_text(line: str) -> None:
    assert read(line, "after") == [line, "after"]
