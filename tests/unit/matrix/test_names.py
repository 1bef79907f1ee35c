"""Names and numbers of a configuration: of ASCII, short enough for a tag, and leading nowhere."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.matrix.names import COMPUTE, CUDA_LINE, LONGEST_NAME, VERSION, is_file_name, is_name, is_path

DIGITS = st.characters(categories=["Nd"], min_codepoint=128)
PARTS = ["..", ".", "", "/", "a", "\\", "\0", "\n", "\u202e", "é", "\udcff", "pool", "~", "%2e"]


@pytest.mark.parametrize("text", ["5090", "vllm", "a-b", "0.28.0", "x_y.z-1", "a" * LONGEST_NAME])
def test_what_tags_are_made_of_is_a_name(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "A", "-a", "a-", "a b", "a\n", "é", "a/b", "a" * (LONGEST_NAME + 1), "٣"])
def test_anything_else_is_not(text: str) -> None:
    assert not is_name(text)


@given(DIGITS, st.integers(1, 99), st.integers(0, 9))
def test_digits_of_other_scripts_are_no_digits(digit: str, major: int, minor: int) -> None:
    for pattern in (COMPUTE, CUDA_LINE, VERSION):
        assert pattern.fullmatch(f"{major}.{minor}")
        assert not pattern.fullmatch(f"{major}.{digit}") and not pattern.fullmatch(f"{digit}.{minor}")


@pytest.mark.parametrize("text", ["120", "12", "12.10", "0.0", "12.0.0", "012.0", "12.0\n", " 12.0", "sm_120"])
def test_a_compute_capability_has_a_major_and_one_digit_of_a_minor(text: str) -> None:
    assert COMPUTE.fullmatch("12.0") and COMPUTE.fullmatch("9.0")
    assert not COMPUTE.fullmatch(text)


@pytest.mark.parametrize("text", ["12", "12.", "12.8.1", "cpu", "012.8"])
def test_a_cuda_line_has_a_major_and_a_minor(text: str) -> None:
    assert CUDA_LINE.fullmatch("12.8") and CUDA_LINE.fullmatch("13.0")
    assert not CUDA_LINE.fullmatch(text)


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=6).map("/".join))
def test_a_path_stays_below_its_folder(text: str) -> None:
    path = PurePosixPath("/folder") / text
    inside = path.parts[:2] == ("/", "folder") and len(path.parts) > 2 and ".." not in path.parts
    if is_path(text):
        assert inside and text.isascii() and text.isprintable() and str(path) == f"/folder/{text}"
    assert not is_file_name(text) or (is_path(text) and len(path.parts) == 3)


def test_paths_of_archives_are_paths() -> None:
    assert is_path("pool/main/g/glibc/libc6_1%3a2.36-9+deb12u1_amd64.deb")
    assert is_file_name("torch-2.13.0+cu130-cp311-cp311-linux_x86_64.whl") and not is_file_name("x" * 256)
