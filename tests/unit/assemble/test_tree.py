from __future__ import annotations

import pytest

from scripts.assemble.tree import bytecode_path, make_directory, make_file, make_symlink, parents, path_fault
from tests.unit.assemble import digest


def test_a_file_knows_its_size_and_hash() -> None:
    entry = make_file("opt/a", b"text", 0o755)
    assert (entry.path, entry.mode, entry.kind, entry.size, entry.digest) == (
        "opt/a",
        0o755,
        "file",
        4,
        digest(b"text"),
    )
    assert entry.read() == b"text"


def test_what_is_no_file_has_no_bytes() -> None:
    assert make_directory("opt").read() == b"" == make_symlink("opt/b", "a").read()
    assert (make_directory("opt").mode, make_symlink("opt/b", "a").target) == (0o755, "a")


def test_byte_code_lies_where_python_looks_for_it() -> None:
    assert bytecode_path("lib/odd/x.y.py", "3.11") == "lib/odd/__pycache__/x.y.cpython-311.pyc"


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("opt/../etc/passwd", "`..`"),
        ("..", "`..`"),
        ("/etc/passwd", "absolute"),
        ("opt//venv", "a part ``"),
        ("./opt", "`.`"),
        ("opt/venv/", "a part ``"),
        ("", "a part ``"),
        ("opt\\venv", "backslash"),
        ("opt/a\nb", "control"),
        ("opt/a\0b", "control"),
        ("opt/a\x85b", "control"),
        ("opt/.wh.venv", "deletes"),
        (".wh..wh..opq/x", "deletes"),
        ("opt/" + "ä" * 128, "255"),
        ("opt/\udc80", "Unicode"),
    ],
)
def test_a_path_that_no_image_may_have(path: str, fault: str) -> None:
    assert fault in path_fault(path)


@pytest.mark.parametrize("path", ["opt/venv", "a", "a/..b/...", "naïve/名", "opt/" + "a" * 255, "a b,'\"", ".why/wh."])
def test_a_path_that_is_fine(path: str) -> None:
    assert path_fault(path) == ""


def test_the_directories_above_a_path() -> None:
    assert parents("opt/venv/bin/python") == ["opt", "opt/venv", "opt/venv/bin"]
    assert parents("opt") == []
