from __future__ import annotations

import hashlib
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.assemble.tar import LARGE, TarStream, make_header, padding
from scripts.assemble.tree import Data, Entry, make_directory, make_file, make_symlink


class Collector:
    """A packer that packs nothing."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: Data | memoryview) -> None:
        self.writes.append(bytes(data))

    def finish(self) -> None:
        raise AssertionError("whoever made the packer finishes it")


def stream(entries: list[Entry], mtime: int = 1_700_000_000) -> tuple[bytes, TarStream, list[bytes]]:
    packer = Collector()
    with ThreadPoolExecutor(1) as pool:
        tar = TarStream(packer, pool)
        for entry in entries:
            tar.add(entry, entry.read(), mtime)
        tar.finish()
    return b"".join(packer.writes), tar, packer.writes


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return archive.getmembers()


PATHS = [
    "a",
    "x" * 100,
    "d/" + "x" * 100,
    "d" * 155 + "/" + "x" * 99,
    "x" * 101,
    "d/" + "x" * 101,
    "d" * 156 + "/x",
    "/".join(["deep"] * 80) + "/file.py",
    "naïve/名前.py",
    "with space/=, \"'",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_any_path_is_read_back(path: str, kind: str) -> None:
    made = {
        "file": make_file(path, b"text", 0o755),
        "directory": make_directory(path),
        "symlink": make_symlink("l", path),
    }
    data, *_ = stream([made[kind], make_file("after", b"!")])
    found, after = members(data)
    assert (found.linkname if kind == "symlink" else found.name) == path
    assert (found.isreg(), found.isdir(), found.issym()) == (kind == "file", kind == "directory", kind == "symlink")
    assert (after.name, after.size) == ("after", 1)


def test_a_header_says_nothing_of_who_wrote_it() -> None:
    [found], [pax] = (members(stream([make_file(path, b"text")])[0]) for path in ("short", "x" * 300))
    for member in (found, pax):
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert (member.mode, member.mtime, member.size) == (0o644, 1_700_000_000, 4)
        assert set(member.pax_headers) <= {"path"}


def test_a_file_of_eight_gibibytes_has_its_size_in_a_header_that_can_hold_it() -> None:
    header = make_header(Entry("big", 0o644, "file", "", 8**11), 0)
    assert tarfile.TarInfo.frombuf(header[:512], "utf-8", "strict").type == tarfile.XHDTYPE
    assert b" size=8589934592\n" in header and len(header) == 3 * 512
    assert len(make_header(Entry("big", 0o644, "file", "", 8**11 - 1), 0)) == 512


@pytest.mark.parametrize("length", range(80, 110))
def test_the_length_of_a_pax_record_counts_its_own_digits(length: int) -> None:
    [found] = members(stream([make_file("ä" * length, b"")])[0])
    assert found.name == "ä" * length


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, LARGE, LARGE + 1, 9 << 20])
def test_bytes_are_read_back_whole(size: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    data, tar, writes = stream([make_file("a", body), make_file("b", b"after")])
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        a, b = (archive.extractfile(name) for name in ("a", "b"))
        assert a and a.read() == body and b and b.read() == b"after"
    assert (tar.size, tar.digest.hexdigest()) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(data) % 10240 == 0 and data.endswith(bytes(1024))
    assert max(map(len, writes)) < 6 << 20, "a packer is handed no giant"


def test_many_small_files_are_passed_on_together() -> None:
    _, _, writes = stream([make_file(f"f{number:05}", b"x" * 600) for number in range(4000)])
    assert len(writes) == 2


def test_padding_fills_a_block() -> None:
    assert [len(padding(size)) for size in (0, 1, 512, 513)] == [0, 511, 0, 511]
