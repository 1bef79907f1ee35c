from __future__ import annotations

import pytest

from scripts.slim.wheel.names import WheelNames, retag_metadata, tag_version

FILE = "big_kernels-1.0+cu130-3-cp311-cp311-linux_x86_64.whl"
INFO = "big_kernels-1.0+cu130.dist-info/METADATA"


def test_the_target_is_the_local_part_of_the_version() -> None:
    assert tag_version("2.10.0", "12.0") == "2.10.0+sm120"
    assert tag_version("2.13.0+cu130", "9.0") == "2.13.0+cu130.sm90"


def test_the_new_version_stands_in_all_names() -> None:
    names = WheelNames.parse(FILE, ["big/_C.so", INFO], "12.0")
    assert names.new_file == "big_kernels-1.0+cu130.sm120-3-cp311-cp311-linux_x86_64.whl"
    assert names.info == "big_kernels-1.0+cu130.dist-info/"
    assert names.rename(INFO) == "big_kernels-1.0+cu130.sm120.dist-info/METADATA"
    assert names.rename("big_kernels-1.0+cu130.data/scripts/x") == "big_kernels-1.0+cu130.sm120.data/scripts/x"
    assert names.rename("big/_C.so") == "big/_C.so"


@pytest.mark.parametrize(
    ("file", "members", "cause"),
    [
        ("big.whl", [INFO], "Invalid wheel filename"),
        (FILE, [], "not one .dist-info"),
        (FILE, [INFO, "other-1.dist-info/METADATA"], "not one .dist-info"),
        (FILE, ["big.dist-info/METADATA"], "not one .dist-info"),
        (FILE, [INFO, "big_kernels-1.0+cu130.sm120.data/scripts/x"], "a folder already"),
        (FILE, [INFO, "big_kernels-1.0+cu130.data/x", "big_kernels-1.0+cu130.sm120.data/x"], "a folder already"),
    ],
)
def test_what_does_not_name_one_distribution_is_refused(file: str, members: list[str], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        WheelNames.parse(file, members, "12.0")


def test_signatures_of_record_are_known_by_name() -> None:
    names = WheelNames(FILE, "x-1", "12.0")
    assert names.is_signature("x-1.dist-info/RECORD.jws") and names.is_signature("x-1.dist-info/RECORD.p7s")
    assert not names.is_signature("x-1.dist-info/RECORD") and not names.is_signature("RECORD.jws")


def test_metadata_gets_the_new_version_and_nothing_else() -> None:
    assert retag_metadata(b"Version:\t1\r\nName: x\r\n\r\nbody", "12.0") == b"Version:\t1+sm120\r\nName: x\r\n\r\nbody"
    for metadata in (b"Version: 1\nVersion: 2\n\n", b"Name: x\n\nVersion: 1\n"):
        with pytest.raises(ValueError, match="one version"):
            retag_metadata(metadata, "12.0")
