from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import ConfigError, Problem
from scripts.matrix import reader
from scripts.matrix.reader import DEEPEST, Table, parse_toml


def read(values: object) -> tuple[Table, list[Problem]]:
    problems: list[Problem] = []
    return Table(values, "some.toml", problems), problems


def causes(problems: list[Problem]) -> list[str]:
    return [problem.cause for problem in problems]


def test_right_values_are_read_without_a_problem() -> None:
    table, problems = read({"a": "text", "b": 3, "c": False, "d": ["x", "y"], "e": {"f": 1}, "g": [{"h": 1}, {"h": 2}]})
    assert table.string("a") == "text"
    assert table.number("b") == 3
    assert table.flag("c", default=True) is False
    assert table.strings("d") == ("x", "y")
    assert table.table("e").number("f") == 1
    assert [item.number("h") for item in table.tables("g")] == [1, 2]
    table.finish()
    assert problems == []


def test_defaults_stand_in_for_what_is_left_out() -> None:
    table, problems = read({})
    assert (table.string("a", ""), table.number("b", 7), table.flag("c", default=True)) == ("", 7, True)
    assert (table.strings("d", ("x",)), table.table("e").names(), table.tables("f")) == (("x",), [], [])
    assert problems == []


def test_what_must_be_there_is_missed() -> None:
    table, problems = read({})
    assert (table.string("a"), table.number("b"), table.strings("c")) == ("", 0, ())
    assert causes(problems) == ["missing key `a`", "missing key `b`", "missing key `c`"]


@pytest.mark.parametrize(
    ("read_it", "value", "cause"),
    [
        (lambda table: table.string("key"), 3, "expected a string, found a whole number"),
        (lambda table: table.string("key"), ["a"], "expected a string, found a list"),
        (lambda table: table.string("key", ""), {}, "expected a string, found a table"),
        (lambda table: table.number("key"), "3", "expected a whole number, found a string"),
        (lambda table: table.number("key"), True, "expected a whole number, found true or false"),
        (lambda table: table.number("key"), 3.0, "expected a whole number, found float"),
        (lambda table: table.flag("key", True), 1, "expected true or false, found a whole number"),
        (lambda table: table.flag("key", True), "no", "expected true or false, found a string"),
        (lambda table: table.strings("key"), "a", "expected a list, found a string"),
        (lambda table: table.strings("key", ()), {"a": 1}, "expected a list, found a table"),
        (lambda table: table.table("key"), ["a"], "expected a table, found a list"),
        (lambda table: table.tables("key"), {"a": 1}, "expected a list, found a table"),
        (lambda table: table.tables("key"), ["a"], "expected a table, found a string"),
    ],
)
def test_a_value_of_another_type_is_noted(read_it: Any, value: object, cause: str) -> None:
    table, problems = read({"key": value})
    read_it(table)
    assert cause in causes(problems)
    assert all("key" in problem.place for problem in problems)


@pytest.mark.parametrize(
    ("read_it", "value", "cause"),
    [
        (lambda table: table.string("key"), "", "must not be empty"),
        (lambda table: table.number("key"), -1, "must not be negative"),
        (lambda table: table.strings("key"), [], "with at least one"),
        (lambda table: table.strings("key"), ["a", ""], "expected a list of strings"),
        (lambda table: table.strings("key"), ["a", 1], "expected a list of strings"),
        (lambda table: table.strings("key"), ["b", "a", "b"], "`b` stands twice"),
    ],
)
def test_a_value_out_of_bounds_is_noted(read_it: Any, value: object, cause: str) -> None:
    table, problems = read({"key": value})
    read_it(table)
    [problem] = problems
    assert cause in problem.cause and problem.place == "some.toml: [key]"


def test_a_place_names_every_table_on_the_way() -> None:
    table, problems = read({"cuda": {"12.8": {}}, "list": [{}, {}]})
    table.table("cuda").table("12.8").string("driver")
    for item in table.tables("list"):
        item.string("name")
    assert [problem.place for problem in problems] == [
        'some.toml: [cuda."12.8".driver]',
        "some.toml: [list.1.name]",
        "some.toml: [list.2.name]",
    ] or [problem.place for problem in problems] == [
        'some.toml: [cuda."12.8"]',
        "some.toml: [list.1]",
        "some.toml: [list.2]",
    ]


def test_an_unknown_key_gets_the_nearest_known_one_as_a_hint() -> None:
    table, problems = read({"driver": "1", "cude": "x"})
    table.string("driver")
    table.string("cuda", "")
    table.finish()
    assert problems == [Problem("unknown key `cude`", "some.toml", "did you mean `cuda`?")]


def test_an_unknown_key_like_no_other_gets_all_known_ones() -> None:
    table, problems = read({"zzz": 1})
    table.string("b", "")
    table.string("a", "")
    table.finish()
    assert problems == [Problem("unknown key `zzz`", "some.toml", "known here: a, b")]


def test_keys_that_were_looked_for_are_known_even_where_they_are_wrong() -> None:
    table, problems = read({"driver": 1})
    table.string("driver")
    table.finish()
    assert causes(problems) == ["expected a string, found a whole number"]


def test_a_file_is_read_as_plain_values(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "ü"\n[table]\nnumber = 1\n', "utf-8")
    assert parse_toml(tmp_path / "a.toml", "a.toml") == {"name": "ü", "table": {"number": 1}}


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"name = ", "Invalid value"),
        (b"name = 1\nname = 2\n", "Cannot overwrite"),
        (b"name = '\xff'", "utf-8"),
        (b"\xff\xfen\x00", "utf-8"),
        (b"\x00", "Invalid"),
        (b"[" * 5000, "Invalid"),
        pytest.param(b"a = " + b"[" * 5000, "recursion", id="tables too deep"),
        pytest.param(b"a = " + b"1" * 5000, "Exceeds the limit", id="a number too long"),
    ],
)
def test_a_file_that_is_no_toml_is_named_with_the_reason(data: bytes, cause: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=cause) as caught:
        parse_toml(tmp_path / "a.toml", "images/a.toml")
    assert str(caught.value).startswith("images/a.toml: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"images/a\.toml: the file is missing"):
        parse_toml(tmp_path / "a.toml", "images/a.toml")


def test_a_folder_in_place_of_a_file_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^a\.toml: "):
        parse_toml(tmp_path, "a.toml")


# --- files that would take more than they give


def test_keys_joined_by_many_dots_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text("a = 1\n" + ".".join(["k"] * 20_000) + " = 1\n")
    tracemalloc.start()
    with pytest.raises(ConfigError, match=r"some\.toml: more than 8 keys are joined by dots in line 2\n  next: mend"):
        parse_toml(path, "some.toml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24, "the parser would have taken 1.6 GB"


@given(st.integers(1, 30), st.sampled_from(["a", '"a b"', "'.'", '"\\\\"', "x-1"]), st.sampled_from(["", " ", "\t"]))
def test_joined_keys_are_read_or_refused_by_their_number(number: int, key: str, space: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "some.toml"
        path.write_text("[t]\n" + f"{space}.{space}".join([key] * number) + ' = "1.2.3.4.5.6.7.8"\n')
        if number > DEEPEST:
            with pytest.raises(ConfigError, match="joined by dots"):
                parse_toml(path, "some.toml")
        else:
            assert "t" in parse_toml(path, "some.toml")


@pytest.mark.parametrize("text", ["a" * 200_000, '"' * 3000, "'a" * 3000, "a." * 5 + "b" * 100_000, "x" + "-" * 90_000])
def test_no_text_is_looked_through_for_long(text: str, tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(ConfigError):
        parse_toml(path, "some.toml")
    assert time.process_time() - started < 2


def test_a_file_that_is_too_large_or_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.toml"
    path.write_text("# " + "x" * 100)
    assert parse_toml(path, "some.toml") == {}
    monkeypatch.setattr(reader, "LARGEST", 100)
    with pytest.raises(ConfigError, match="it has more than 100 B"):
        parse_toml(path, "some.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    for name in ("pipe.toml", ""):
        with pytest.raises(ConfigError, match="is no ordinary file"):
            parse_toml(tmp_path / name, "some.toml")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -1, 0.0, 10**400])
def test_an_amount_is_a_number_above_nothing(value: float) -> None:
    table, problems = read({"a": value})
    table.amount("a")
    assert causes(problems) == ["must be more than 0"] and problems[0].next_step


@pytest.mark.parametrize("value", [1 << 63, 10**400])
def test_a_number_is_one_that_could_be_meant(value: int) -> None:
    table, problems = read({"a": value, "b": (1 << 63) - 1})
    assert (table.number("a"), table.number("b")) == (0, (1 << 63) - 1)
    assert causes(problems) == ["is larger than any number that could be meant"] and problems[0].next_step
