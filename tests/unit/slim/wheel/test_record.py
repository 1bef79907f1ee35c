from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.slim.wheel.names import WheelNames
from scripts.slim.wheel.record import hash_pieces, rewrite_record

NAMES = WheelNames("x-1-py3-none-any.whl", "x-1", "12.0")


def test_a_hash_does_not_depend_on_the_pieces() -> None:
    empty = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    assert hash_pieces([]) == (empty, 0)
    assert hash_pieces([b"ab", bytearray(b"c")]) == hash_pieces([b"abc"])
    assert hash_pieces([b"abc"])[1] == 3


def test_names_with_commas_stay_one_column() -> None:
    record = '"a,b",sha256=x,3\nx-1.dist-info/RECORD,,\n'
    written = rewrite_record(record, NAMES, {"new": ("sha256=y", 4)})
    assert written == b'"a,b",sha256=x,3\nnew,sha256=y,4\nx-1+sm120.dist-info/RECORD,,\n'


def test_what_changed_is_listed_under_its_new_name_and_signatures_go() -> None:
    record = "x-1.dist-info/METADATA,sha256=old,1\nx-1.dist-info/RECORD.jws,,\nb,sha256=b,2\n"
    changed = {"x-1+sm120.dist-info/METADATA": ("sha256=new", 9)}
    assert rewrite_record(record, NAMES, changed).decode().splitlines() == [
        "x-1+sm120.dist-info/METADATA,sha256=new,9",
        "b,sha256=b,2",
        "x-1+sm120.dist-info/RECORD,,",
    ]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=4))
def test_what_is_written_is_read_as_it_was_or_refused(paths: list[str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([(path, "sha256=x", "3") for path in paths])
    try:
        written = rewrite_record(text.getvalue(), NAMES, {}).decode()
    except ValueError:
        assert any(ord(letter) < 32 for path in paths for letter in path)
        return
    assert [row[0] for row in csv.reader(written.split("\n")) if row] == [*paths, "x-1+sm120.dist-info/RECORD"]


@pytest.mark.parametrize("path", ["a\rb", "a\nb", "a\0b"])
def test_what_would_break_a_line_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="RECORD is not a table"):
        rewrite_record(f'"{path}",sha256=x,3\r\n', NAMES, {})
    for row in (f'a,"{path}",3\r\n', f'a,sha256=x,"{path}"\r\n'):
        with pytest.raises(ValueError, match="RECORD is not a table"):
            rewrite_record(row, NAMES, {})


@pytest.mark.parametrize("record", ["a,b\n", "a,b,c,d\n"])
def test_what_is_no_table_of_three_columns_is_refused(record: str) -> None:
    with pytest.raises(ValueError, match="not a table of three columns"):
        rewrite_record(record, NAMES, {})
