from __future__ import annotations

import pytest
from packaging.version import Version

from scripts.assemble.identity import Identity, check_metadata, identify
from tests.unit.assemble import FILE, INFO, METADATA, WHEEL

ODD = Identity("odd-tools", Version("1.0"), "odd_Tools-1.0")


def test_names_agree_however_they_are_spelled() -> None:
    found = identify("odd.tools-1.0.0-2-py3-none-any.whl", [f"{INFO}/WHEEL", "odd/x.py", "single.data"], "3.11")
    assert (found, found.info, found.data, found.spelled) == (ODD, INFO, "odd_Tools-1.0.data", "odd_Tools")


@pytest.mark.parametrize(
    "tags",
    [
        "cp311-cp311-linux_x86_64",
        "cp38-abi3-manylinux_2_28_x86_64",
        "py2.py3-none-any",
        "cp311-none-any",
        "py311-none-any",
        "cp39.cp311-cp311-linux_x86_64",
    ],
)
def test_a_wheel_for_this_python(tags: str) -> None:
    assert identify(f"odd_tools-1.0-{tags}.whl", [f"{INFO}/WHEEL"], "3.11").version == Version("1.0")


@pytest.mark.parametrize(
    "tags",
    [
        "cp312-cp312-linux_x86_64",
        "cp312-abi3-linux_x86_64",
        "py2-none-any",
        "cp311-cp311t-any",
        "pp311-pypy311_pp73-any",
    ],
)
def test_a_wheel_for_another_python(tags: str) -> None:
    with pytest.raises(ValueError, match=r"not for Python 3\.11"):
        identify(f"odd_tools-1.0-{tags}.whl", [f"{INFO}/WHEEL"], "3.11")


def test_the_python_that_counts_is_the_images() -> None:
    assert identify("odd_tools-1.0-cp313-cp313-linux_x86_64.whl", [f"{INFO}/WHEEL"], "3.13").name == "odd-tools"


@pytest.mark.parametrize(
    ("file", "members", "cause"),
    [
        ("odd_tools.whl", [f"{INFO}/WHEEL"], "wheel filename"),
        (FILE, ["odd/x.py", INFO], "but 0"),
        (FILE, [f"{INFO}/WHEEL", "other-1.0.dist-info/WHEEL"], "but 2"),
        (FILE, ["other-1.0.dist-info/WHEEL"], "another distribution"),
        (FILE, ["odd_tools-1.1.dist-info/WHEEL"], "another distribution"),
        (FILE, ["odd_tools-one.dist-info/WHEEL"], "another distribution"),
        (FILE, ["odd.dist-info/WHEEL"], "another distribution"),
        (FILE, [f"{INFO}/WHEEL", "odd_tools-1.0.data/purelib/x.py"], "data of another"),
    ],
)
def test_a_wheel_that_is_not_what_it_is_called(file: str, members: list[str], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        identify(file, members, "3.11")


def test_metadata_agrees() -> None:
    check_metadata(ODD, METADATA.decode(), WHEEL.decode())
    check_metadata(ODD, METADATA.decode(), "Wheel-Version: 1.9\n")


@pytest.mark.parametrize(
    ("metadata", "wheel", "cause"),
    [
        (METADATA.replace(b"odd-tools", b"other"), WHEEL, "METADATA"),
        (METADATA.replace(b"1.0", b"1.1"), WHEEL, "METADATA"),
        (b"\n", WHEEL, "METADATA"),
        (METADATA, b"Wheel-Version: 2.0\n", "version 2.0"),
        (METADATA, b"Wheel-Version: 10.0\n", "version 10.0"),
        (METADATA, b"\n", "version None"),
    ],
)
def test_metadata_of_something_else(metadata: bytes, wheel: bytes, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        check_metadata(ODD, metadata.decode(), wheel.decode())
