from __future__ import annotations

import hashlib

import pytest

from scripts.assemble.record import Row, parse_record, render_record
from scripts.assemble.tree import make_file, record_digest
from tests.unit.assemble import INFO, digest

OWN = f"{INFO}/RECORD"
MODULES = "opt/venv/lib/python3.11/site-packages"
GOOD = digest(b"x")


def test_rows_but_for_records_own_and_its_signatures() -> None:
    strong = record_digest(b"x", "sha512")
    text = f'a.py,{GOOD},1\r\n"b,c.py",{strong},\n{OWN},{GOOD},7\n{OWN}.jws,,\n{OWN}.p7s,,\n'
    assert parse_record(text, OWN) == {"a.py": Row(GOOD, 1), "b,c.py": Row(strong, -1)}


def test_padding_is_the_same_hash() -> None:
    assert parse_record(f"a.py,{GOOD}=,1\n", OWN) == {"a.py": Row(GOOD, 1)}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a.py\n", "three columns"),
        (f"a.py,{GOOD},1,2\n", "three columns"),
        (f"a.py,{GOOD},1\na.py,{GOOD},1\n", "twice"),
        ("a.py,,1\n", "no hash"),
        ("a.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,1\n", "no hash"),
        ("a.py,sha1=2jmj7l5rSw0yVb_vlWAYkK_YBwk,1\n", "no hash"),
        ("a.py,sha256=abc,1\n", "cannot be read"),
        (f"a.py,{hashlib.sha256(b'x').hexdigest()},1\n", "no hash"),
        (f"a.py,sha256={hashlib.sha256(b'x').hexdigest()},1\n", "cannot be read"),
        (f"a.py,{GOOD.replace('=', '=!')},1\n", "cannot be read"),
        (f"a.py,{GOOD},one\n", "cannot be read"),
        (f"a.py,{GOOD},-1\n", "cannot be read"),
    ],
)
def test_a_record_that_is_none(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        parse_record(text, OWN)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_row_tells_its_bytes_from_others(algorithm: str) -> None:
    row = Row(record_digest(b"x", algorithm), 1)
    assert row.matches(b"x") and row.matches(bytearray(b"x")) and not row.matches(b"y")


def test_an_installed_record_is_sorted_and_relative_to_the_modules() -> None:
    entries = [
        make_file(f"{MODULES}/z,1.py", b"x"),
        make_file("opt/venv/bin/a", b"xy"),
        make_file(f"{MODULES}/a.py", b""),
    ]
    lines = render_record(entries, [f"{MODULES}/__pycache__/a.cpython-311.pyc"], MODULES).decode()
    assert lines == (
        f'../../../bin/a,{digest(b"xy")},2\n__pycache__/a.cpython-311.pyc,,\na.py,{digest(b"")},0\n"z,1.py",{GOOD},1\n'
    )
