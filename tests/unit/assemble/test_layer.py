from __future__ import annotations

import errno
import gzip
import hashlib
import io
import random
import tarfile
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from scripts.assemble import layer
from scripts.assemble.layer import MTIME, PackedLayer, layer_key, write_layer
from scripts.assemble.packers import PACKERS, Output
from scripts.assemble.tree import Data, Entry, make_directory, make_file, make_symlink
from scripts.assemble.wheel import read_wheel
from scripts.errors import ConfigError, Undecided
from scripts.model import Compression
from tests.unit.assemble import digest, record_of, sound, write_wheel

BIG = random.Random(3).randbytes(3 << 20)
FILES = [
    make_file("opt/venv/lib/big.so", BIG, 0o755),
    make_file("opt/venv/lib/a.py", b"a = 1\n"),
    make_file("opt/venv/lib-x", b"sorts between a folder and what is in it"),
    make_file("opt/venv/lib/other.so", BIG[::-1]),
    make_symlink("opt/venv/lib64", "lib"),
    make_directory("opt/venv/empty", 0o700),
]


def unpack(folder: Path, packed: PackedLayer) -> bytes:
    data = (folder / packed.digest.removeprefix("sha256:")).read_bytes()
    assert packed.size == len(data) and packed.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    if packed.media_type.endswith("+gzip"):
        return gzip.decompress(data)
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
        return reader.read()


def write(folder: Path, entries: list[Entry], compression: Compression = "zstd", threads: int = 1) -> PackedLayer:
    return write_layer(entries, folder, compression, MTIME, threads)


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_a_layer_is_a_tar_of_its_files_sorted_with_their_directories(tmp_path: Path, compression: Compression) -> None:
    packed = write(tmp_path, FILES, compression)
    data = unpack(tmp_path, packed)
    assert packed.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}" and packed.unpacked == len(data)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        assert [(member.name, oct(member.mode)) for member in archive] == [
            ("opt", "0o755"),
            ("opt/venv", "0o755"),
            ("opt/venv/empty", "0o700"),
            ("opt/venv/lib-x", "0o644"),
            ("opt/venv/lib", "0o755"),
            ("opt/venv/lib/a.py", "0o644"),
            ("opt/venv/lib/big.so", "0o755"),
            ("opt/venv/lib/other.so", "0o644"),
            ("opt/venv/lib64", "0o777"),
        ]
        assert {(member.uid, member.gid, member.uname, member.mtime) for member in archive} == {(0, 0, "", MTIME)}
        for entry in FILES[:4]:
            found = archive.extractfile(entry.path)
            assert found and found.read() == entry.read()


def test_its_bytes_depend_on_neither_order_nor_threads_nor_folder(tmp_path: Path) -> None:
    first = write(tmp_path / "a", FILES)
    assert write(tmp_path / "b", FILES[::-1], threads=3) == first
    assert write_layer(iter(FILES), tmp_path / "c", "zstd", MTIME, 0) == first
    assert write_layer(FILES, tmp_path / "d", "zstd", MTIME + 1, 1).diff_id != first.diff_id
    assert write(tmp_path / "e", FILES, "gzip").diff_id == first.diff_id


def test_the_layer_of_a_wheel_is_always_the_same(tmp_path: Path) -> None:
    """A change of these bytes needs another WRITER, or layers that were made before are taken for new ones."""
    files = read_wheel(write_wheel(tmp_path), "3.11")
    packed = write(tmp_path / "blobs", [*files.entries, files.record([])])
    assert (layer.WRITER, packed.diff_id) == (
        1,
        "sha256:a74391fc5f7b63861dd20f4524f1a845b868a40b9f2008f95ef7ce6a0bcb2490",
    )


def test_only_the_finished_layer_is_left_and_everyone_may_read_it(tmp_path: Path) -> None:
    packed = write(tmp_path / "new/blobs", FILES)
    [path] = (tmp_path / "new/blobs").iterdir()
    assert path.name == packed.digest.removeprefix("sha256:") and path.stat().st_mode & 0o777 == 0o644
    assert write(tmp_path / "new/blobs", FILES) == packed


def broken(path: str, size: int, content: Callable[[], Data]) -> Entry:
    return Entry(path, 0o644, "file", "", size, "", content)


@pytest.mark.parametrize("size", [10, 2 << 20])
def test_a_file_of_another_size_than_promised(tmp_path: Path, size: int) -> None:
    with pytest.raises(Undecided, match=f"9 bytes where {size}"):
        write(tmp_path, [*FILES, broken("opt/z", size, lambda: b"x" * 9)])
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_that_lies_leaves_nothing(tmp_path: Path) -> None:
    record = record_of(sound()).replace(digest(sound()["odd/deep/data.bin"]).encode(), digest(b"").encode())
    files = read_wheel(write_wheel(tmp_path / "wheels", record=record), "3.11")
    with pytest.raises(Undecided, match=r"data\.bin` has another hash"):
        write(tmp_path / "blobs", list(files.entries))
    assert list((tmp_path / "blobs").iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "broken")])
def test_nothing_is_left_of_what_was_broken_off(tmp_path: Path, error: type[BaseException] | OSError) -> None:
    def fail() -> bytes:
        raise error

    with pytest.raises(error if isinstance(error, type) else OSError):
        write(tmp_path, [*FILES, broken("opt/z", 1, fail)])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Output, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Output, "write", full)
    with pytest.raises(Undecided, match="the disk is full"):
        write(tmp_path, FILES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("extra", "cause"),
    [
        ([make_file("opt/venv/lib/a.py", b"a = 1\n")], "this path twice"),
        ([make_symlink("opt/venv/lib/a.py", "b")], "this path twice"),
        ([make_file("opt/venv/lib", b"")], "is not a directory"),
        ([make_file("opt/venv/lib64/x", b"")], "`/opt/venv/lib64` is not a directory"),
        ([make_directory("opt/venv/x"), make_directory("opt/venv/x")], "this path twice"),
        ([make_file("opt/../x", b"")], "has a part `..`"),
        ([make_file("/x", b"")], "is absolute"),
        ([make_file("opt/.wh.venv", b"")], "deletes files"),
        ([make_directory("opt/a\nb")], "control character"),
    ],
)
def test_paths_that_a_layer_must_not_have(tmp_path: Path, extra: list[Entry], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        write(tmp_path, [*FILES, *extra])
    [problem] = caught.value.problems
    assert problem.place and problem.next_step
    assert not any(tmp_path.iterdir())


class Body(bytearray):
    """Bytes of which one can tell whether somebody still holds them."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def held(tmp_path: Path, sizes: Sequence[int]) -> list[int]:
    """Pack files of these sizes; for each, how many of the others were in memory when it was read."""
    bodies: weakref.WeakSet[Body] = weakref.WeakSet()
    counts: list[int] = []

    def reading(size: int) -> Callable[[], Data]:
        def read() -> Data:
            end = time.monotonic() + 1  # a thread lets go of what it hashed a moment after it has said so
            while bodies and time.monotonic() < end:
                time.sleep(0.001)
            counts.append(len(bodies))
            body = Body(BIG[:size])
            bodies.add(body)
            return body

        return read

    write(tmp_path, [broken(f"opt/{number}", size, reading(size)) for number, size in enumerate(sizes)])
    return counts


@pytest.mark.parametrize("sizes", [(3 << 20, 3 << 20, 3 << 20), (2 << 20, 3 << 20)])
def test_nothing_packed_is_held_while_a_giant_is_read(
    tmp_path: Path, sizes: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "_AHEAD", 2 << 20)
    assert held(tmp_path, sizes) == [0] * len(sizes)


def test_another_large_file_is_read_ahead_of_its_turn() -> None:
    log: list[str] = []

    def noting(name: str) -> Callable[[], Data]:
        return lambda: log.append(name) or BIG  # type: ignore[func-returns-value]

    entries = [broken(f"opt/{name}", len(BIG), noting(name)) for name in "abc"]
    with ThreadPoolExecutor(1) as pool:
        reading = layer._read_ahead(entries, pool)
        assert next(reading)[0] is entries[0]
        pool.submit(lambda: None).result()
        assert log == ["a", "b"], "and no more than one"
        assert [entry for entry, _ in reading] == entries[1:]
    assert log == ["a", "b", "c"]


def test_a_key_of_all_that_the_bytes_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = [("a-1-py3-none-any.whl", "aa"), ("b-1-py3-none-any.whl", "bb")]
    key = layer_key(wheels, "3.11", "3.11.2-6", "zstd")
    assert key == layer_key(wheels[::-1], "3.11", "3.11.2-6", "zstd")
    others = [
        layer_key(wheels[:1], "3.11", "3.11.2-6", "zstd"),
        layer_key([wheels[0], ("b-1-py3-none-any.whl", "bc")], "3.11", "3.11.2-6", "zstd"),
        layer_key([wheels[0], ("b-2-py3-none-any.whl", "bb")], "3.11", "3.11.2-6", "zstd"),
        layer_key(wheels, "3.12", "3.11.2-6", "zstd"),
        layer_key(wheels, "3.11", "3.11.2-7", "zstd"),
        layer_key(wheels, "3.11", "3.11.2-6", "gzip"),
        layer_key(wheels, "3.11", "3.11.2-6", "zstd", MTIME + 1),
    ]
    monkeypatch.setattr(layer, "WRITER", layer.WRITER + 1)
    others.append(layer_key(wheels, "3.11", "3.11.2-6", "zstd"))
    monkeypatch.undo()
    monkeypatch.setitem(PACKERS, "zstd", ["0.26.0"])
    others.append(layer_key(wheels, "3.11", "3.11.2-6", "zstd"))
    monkeypatch.undo()
    monkeypatch.setattr(layer, "version", lambda name: f"another {name}")
    others.append(layer_key(wheels, "3.11", "3.11.2-6", "zstd"))
    assert len({key, *others}) == len(others) + 1
