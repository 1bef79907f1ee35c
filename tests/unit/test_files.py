from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import Undecided
from scripts.files import (
    canonical_json,
    content_id,
    format_size,
    free_bytes,
    link_or_copy,
    naming_disk_full,
    open_atomic,
    parse_json,
    sha256_file,
    write_atomic,
    write_json,
)
from tests.unit.builders import REPOSITORY_ROOT, sha256

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abcé ", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


def test_a_files_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == sha256(data)


# --- canonical JSON


def test_canonical_json_is_this_and_nothing_else() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "é", "c": {}}) == '{"a":"é","b":[1,2.5,null],"c":{}}'.encode()


def test_a_content_id_never_changes_by_itself() -> None:
    expected = sha256(b'{"image":"vllm","parts":[1,2]}')
    assert content_id({"parts": (1, 2), "image": "vllm"}) == expected


@given(_JSON)
def test_canonical_json_is_read_back_as_the_same_value_and_written_again_as_the_same_bytes(value: Any) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


@given(st.dictionaries(st.text(max_size=3), st.integers(), min_size=2), st.randoms(use_true_random=False))
def test_the_order_of_keys_makes_no_difference(value: dict[str, int], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert content_id(dict(items)) == content_id(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", Path("/a")])
def test_what_json_cannot_say_has_no_id(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        content_id(value)


# --- writing


def test_a_file_is_written_into_folders_that_are_made_for_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a/b/file", b"data")
    assert (tmp_path / "a/b/file").read_bytes() == b"data"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_is_written_is_readable_for_all_whatever_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "file", b"data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_an_interruption_leaves_the_old_file_and_no_other(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    write_atomic(tmp_path / "file", b"old")
    monkeypatch.setattr(os, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_bytes_are_on_the_disk_before_they_have_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any) -> Any:
            done.append(name)
            return real(*arguments)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noting(name))
    write_atomic(tmp_path / "file", b"new")
    assert done == ["fsync", "replace"]


def test_json_is_written_to_be_read_by_people_and_machines(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": "é", "a": 1})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "b": "é",\n  "a": 1\n}\n'


def test_a_stream_becomes_the_file_when_its_block_ends(tmp_path: Path) -> None:
    with open_atomic(tmp_path / "deep/file") as stream:
        stream.write(b"????-rest")
        stream.seek(0)
        stream.write(b"head")
        assert not (tmp_path / "deep/file").exists()
        stream.seek(0)
        assert stream.read() == b"head-rest", "what was written can be hashed before it has its name"
    assert (tmp_path / "deep/file").read_bytes() == b"head-rest"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]
    assert stat.S_IMODE((tmp_path / "deep/file").stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_stream_whose_block_fails_leaves_the_old_file_and_no_other(
    error: type[BaseException], tmp_path: Path
) -> None:
    write_atomic(tmp_path / "file", b"old")
    with pytest.raises(error), open_atomic(tmp_path / "file") as stream:
        stream.write(b"new")
        stream.flush()
        raise error
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


# --- a full disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_undecided_with_place_and_next_step(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Undecided) as caught:
        write_atomic(tmp_path / "file", b"data")
    [problem] = caught.value.problems
    assert "the disk is full (" in problem.cause and problem.cause.endswith("left)")
    assert problem.place == str(tmp_path) and "nox -s clean" in problem.next_step
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_half_way_through_a_stream_is_named(tmp_path: Path) -> None:
    with pytest.raises(Undecided, match="the disk is full"), open_atomic(tmp_path / "file") as stream:
        stream.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_system_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), naming_disk_full(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "no")


def test_free_space_is_known_for_places_that_are_not_made_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not/made/yet") > 0


# --- the rest


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_000_000, "12.0 MB"),
        (999_900_000, "999.9 MB"),
        (4_980_000_000, "4.98 GB"),
        (2_000_000_000_000, "2000.00 GB"),
    ],
)
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_second_name_costs_no_second_copy(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    link_or_copy(tmp_path / "a", tmp_path / "deep/b")
    assert (tmp_path / "deep/b").samefile(tmp_path / "a")
    link_or_copy(tmp_path / "a", tmp_path / "deep/b")
    assert (tmp_path / "a").stat().st_nlink == 2


def test_where_there_are_no_hard_links_there_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "another file system")

    (tmp_path / "a").write_bytes(b"data")
    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"data" and (tmp_path / "a").stat().st_nlink == 1


def test_names_that_are_not_utf_8_are_kept_in_json(tmp_path: Path) -> None:
    value = {"na\udcffme": ["\udcfe", "ü"]}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == value
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\xff", b"\xed\xa0\x80", "{'a': 1}", b"nul"]
)
def test_what_is_no_json_is_one_kind_of_error(data: bytes | str) -> None:
    with pytest.raises(ValueError):
        parse_json(data)


@pytest.mark.parametrize("data", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_what_json_has_no_word_for_is_refused_where_that_is_asked(data: str) -> None:
    parse_json(data)
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json(data, strict=True)


def test_nothing_else_reads_json() -> None:
    """By itself, `json.loads` raises a RecursionError for what is nested deep, which nobody expects."""
    scripts = REPOSITORY_ROOT / "scripts"
    own = [path for path in scripts.rglob("*.py") if "inside" not in path.parts and path.name != "files.py"]
    calls = re.compile(r"\bjson\.loads?\(|\bfrom json import")
    assert [str(path) for path in own if calls.search(path.read_text("utf-8"))] == [] and len(own) > 100
