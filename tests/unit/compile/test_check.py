"""The wheel that comes out of a compile step is the one that was asked for, or the build has failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.compile.check import find_wheel
from scripts.errors import BuildFailed
from tests.unit.assemble import WHEEL, write_wheel

FILE = "thing-1.2.0+cu130.sm120-cp311-cp311-linux_x86_64.whl"
METADATA = b"Metadata-Version: 2.1\nName: thing\nVersion: 1.2.0+cu130.sm120\n"


def make(folder: Path, file: str = FILE, metadata: bytes = METADATA, **more: bytes) -> Path:
    info = "thing-1.2.0+cu130.sm120.dist-info"
    members = {f"{info}/METADATA": metadata, f"{info}/WHEEL": WHEEL, "thing/__init__.py": b"", **more}
    return write_wheel(folder, members, file, info=info)


def test_the_one_wheel_is_found_with_its_local_version(tmp_path: Path) -> None:
    wheel = make(tmp_path)
    assert find_wheel(tmp_path, "thing", "1.2.0", "3.11", "log") == (wheel, "1.2.0+cu130.sm120")


def test_two_files_are_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "units.log").touch()
    with pytest.raises(BuildFailed, match=r"one wheel was to be made, and there is: thing-.*whl, units\.log"):
        find_wheel(tmp_path, "thing", "1.2.0", "3.11", "log")


def test_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="there is: nothing"):
        find_wheel(tmp_path, "thing", "1.2.0", "3.11", "log")


@pytest.mark.parametrize(
    ("distribution", "version"), [("other", "1.2.0"), ("thing", "1.2.1"), ("thing", "1.2.0.post1")]
)
def test_another_distribution_or_version_is_refused(tmp_path: Path, distribution: str, version: str) -> None:
    make(tmp_path)
    with pytest.raises(BuildFailed, match=f"{distribution} {version} was to be made, and this is thing-"):
        find_wheel(tmp_path, distribution, version, "3.11", "log")


@pytest.mark.parametrize(
    "metadata", [METADATA.replace(b"thing", b"other"), METADATA.replace(b"1.2.0+", b"1.2.1+"), b"Name: thing\n"]
)
def test_metadata_of_something_else_is_refused(tmp_path: Path, metadata: bytes) -> None:
    make(tmp_path, metadata=metadata)
    with pytest.raises(BuildFailed, match=r"no sound wheel was made: thing-.*: METADATA is of another distribution"):
        find_wheel(tmp_path, "thing", "1.2.0", "3.11", "log")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no zip")
    with pytest.raises(BuildFailed, match="no sound wheel was made"):
        find_wheel(tmp_path, "thing", "1.2.0", "3.11", "log")


def test_a_wheel_for_another_python_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(BuildFailed, match=r"it is not for Python 3\.12"):
        find_wheel(tmp_path, "thing", "1.2.0", "3.12", "log")
