"""Files become a layer: in one pass, with the same bytes wherever and with however many threads it is made."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from scripts.assemble.packers import MEDIA_TYPES, PACKERS, Output, make_packer
from scripts.assemble.tar import LARGE, TarStream
from scripts.assemble.tree import Data, Entry, make_directory, parents, path_fault
from scripts.errors import ConfigError, Undecided
from scripts.files import content_id, naming_disk_full
from scripts.model import Compression

WRITER = 1  # raise it when the same wheels would become other bytes
MTIME = 315_619_200  # 1980-01-02, of every file whatever the lock says; zip archives know nothing older
_AHEAD = 256 << 20  # the largest file that is read while the one before it is still held


@dataclass(frozen=True)
class PackedLayer:
    """A layer on disk. `digest` is of its file, `diff_id` of what that unpacks to, both `sha256:…`; sizes in bytes."""

    digest: str
    diff_id: str
    size: int
    unpacked: int
    media_type: str


def layer_key(
    wheels: Sequence[tuple[str, str]], python: str, python_build: str, compression: Compression, mtime: int = MTIME
) -> str:
    """All that a layer's bytes depend on, in one hash: its wheels (file name, SHA-256) in any order, the Python that
    makes its byte code (`3.11`, and what tells one build of it from another), and what packs it.
    """
    return content_id(
        {
            "writer": WRITER,
            "wheels": sorted([file, sha256] for file, sha256 in wheels),
            "python": [python, python_build],
            "packer": [compression, *PACKERS[compression]],
            "installer": version("installer"),  # the text of scripts is its
            "mtime": mtime,
        }
    )


def write_layer(
    entries: Iterable[Entry], folder: Path, compression: Compression, mtime: int, threads: int
) -> PackedLayer:
    """Pack files into `folder`, under the hexadecimal digest of the layer's bytes, and only once it is complete.

    Entries may come in any order; directories above them are added where none is given (0755). `threads` pack with
    zstd beside the caller's; no number of them changes the bytes. Held in memory is one file at a time, and the next
    if it is no giant. Raises ConfigError for two files of one path or a path that a layer must not have, Undecided on
    a full disk and for a file that cannot be read as its archive says, and OSError.
    """
    ordered = list(_with_directories(entries))
    with _temporary_file(folder) as (stream, temporary):
        output = Output(stream)
        packer = make_packer(output, compression, threads)
        with ThreadPoolExecutor(1) as hashing, ThreadPoolExecutor(1) as reading:
            tar = TarStream(packer, hashing)
            for entry, data in _read_ahead(ordered, reading):
                tar.add(entry, data, mtime)
                del data  # or it would be held while the next is read
            tar.finish()
        packer.finish()
        digest = output.digest.hexdigest()
        temporary.chmod(0o644)  # it was made private
        os.replace(temporary, folder / digest)
    media_type = MEDIA_TYPES[compression]
    return PackedLayer(f"sha256:{digest}", f"sha256:{tar.digest.hexdigest()}", output.size, tar.size, media_type)


def _with_directories(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries sorted by path, each after the directories it is in."""
    directories: set[str] = set()
    others: set[str] = set()
    for entry in sorted(entries, key=lambda entry: entry.path):
        place = f"/{entry.path}"
        if fault := path_fault(entry.path):
            raise ConfigError(f"a path of the layer {fault}", ascii(place), "rename the file")
        for folder in parents(entry.path):
            if folder in others:
                raise ConfigError(f"`/{folder}` is not a directory", place, "leave one of the two out")
            if folder not in directories:
                directories.add(folder)
                yield make_directory(folder)
        if entry.path in directories or entry.path in others:
            raise ConfigError("the layer has this path twice", place, "leave one of the two out")
        (directories if entry.kind == "directory" else others).add(entry.path)
        yield entry


def _read_ahead(entries: Sequence[Entry], pool: ThreadPoolExecutor) -> Iterator[tuple[Entry, Data]]:
    """Each entry with its bytes. A large file is read in a thread of `pool` while what stands before it is packed."""
    large = iter([entry for entry in entries if LARGE < entry.size <= _AHEAD])
    coming = next(large, None)
    ahead = pool.submit(_read, coming) if coming else None
    for entry in entries:
        if ahead and entry is coming:
            data = ahead.result()
            coming = next(large, None)
            ahead = pool.submit(_read, coming) if coming else None
            yield entry, data
            del data
        else:
            yield entry, _read(entry)


def _read(entry: Entry) -> Data:
    if entry.kind != "file":
        return b""
    data = entry.read()
    if len(data) != entry.size:
        cause = f"the file has {len(data)} bytes where {entry.size} were promised"
        raise Undecided(cause, f"/{entry.path}", "run the same command again")
    return data


@contextmanager
def _temporary_file(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file in `folder` that is gone afterwards, unless it has got another name by then."""
    folder.mkdir(parents=True, exist_ok=True)
    with naming_disk_full(folder / "layer"):
        handle, name = tempfile.mkstemp(dir=folder, prefix=".layer.")
        try:
            with os.fdopen(handle, "wb", 0) as stream:
                yield stream, Path(name)
        finally:
            Path(name).unlink(missing_ok=True)
