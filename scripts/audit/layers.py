"""One layer of an image, read as it passes: its GPU code, and what it does to the layers beneath it.

Format: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Literal, cast

from zstandard import ZstdDecompressor, ZstdError

from scripts.audit.archive import Archive, Member, Source
from scripts.audit.library import Library, read_library
from scripts.errors import Undecided
from scripts.files import CHUNK

_GZIP = re.compile(rb"\x1f\x8b")
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one that is to be skipped
_WHITEOUT, _METADATA, _OPAQUE = ".wh.", ".wh..wh.", ".wh..wh..opq"
# Bytes of names kept for one layer: some five million files, ten times the largest known image.
_MOST_NAMES = 1 << 30
_ENTRY_BYTES = 200


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, or a hard link to another path of the image."""

    target: str
    hard: bool = False


Mark = Literal["file", "directory", "whiteout", "opaque"]
What = Library | Link | Mark


@dataclass
class Layer:
    """What a layer holds, in its own order, by paths that are relative to the image's root.

    The path of a `whiteout` is what it removes; `opaque` empties its folder; each of what lower layers put there alone.
    """

    entries: list[tuple[str, What]] = field(default_factory=list)


def scan_layer(stream: Source, place: str) -> Layer:
    """Read a layer to its end: a tar, as it is or in gzip or zstd. Holds one library in memory at a time.

    Raises Undecided, with `place`, for a layer that is cut short, damaged or hostile; what the stream itself raises
    goes through.
    """
    with _naming_damage(place):
        plain, sure = _decompress(stream)
        archive = Archive(plain, place)
        layer = _scan(archive)
        while data := plain.read(CHUNK):  # behind the mark; reading on finds damage, and lets the source check itself
            archive.count(len(data))
        while stream.read(CHUNK):
            pass
        if not (sure or archive.ended):
            raise archive.error("it ends without a mark")
    return layer


def normalise(name: str) -> str:
    """A path relative to the root, as engines clean it: `..` does not lead out. Empty for the root itself."""
    return posixpath.normpath(f"/{name}").lstrip("/")


def _scan(archive: Archive) -> Layer:
    layer = Layer()
    names = 0
    for member, content in archive:
        path = normalise(member.name)
        names += len(path) + len(member.target) + _ENTRY_BYTES
        if names > _MOST_NAMES:
            raise archive.error("more files than this program keeps in mind")
        folder, _, base = path.rpartition("/")
        if base == _OPAQUE:
            layer.entries.append((folder, "opaque"))
        elif _METADATA in path and any(part.startswith(_METADATA) for part in path.split("/")):
            continue  # AUFS kept its own books there
        elif base.startswith(_WHITEOUT):
            hidden = base.removeprefix(_WHITEOUT)
            if hidden in ("", ".", ".."):
                raise archive.error(f"a whiteout of nothing ({member.name!r})")
            layer.entries.append((posixpath.join(folder, hidden), "whiteout"))
        elif path:
            layer.entries.append((path, _read_entry(path, member, content)))
        elif member.kind != "directory":
            raise archive.error("something other than a directory is to be the root")
    return layer


def _read_entry(path: str, member: Member, content: Source) -> What:
    if member.kind == "file":
        return read_library(path, member.size, cast(IO[bytes], content)) or "file"
    if member.kind == "sparse":  # no image builder writes these: what is in one is not worth a second parser
        return Library(path, (), "stored as a sparse file, which this program does not read")
    if member.kind == "symlink":
        return Link(member.target)
    if member.kind == "hardlink":
        return Link(normalise(member.target), hard=True)
    return "directory" if member.kind == "directory" else "file"


def _decompress(stream: Source) -> tuple[Source, bool]:
    """The tar in a stream, and whether its end is sure to be its own: zstd's reader takes a cut for the end."""
    start = stream.read(4)
    source = Prepended(start, stream)
    if _GZIP.match(start):
        return gzip.GzipFile(fileobj=cast(IO[bytes], source), mode="rb"), True
    if _ZSTD.match(start):
        plain = ZstdDecompressor().stream_reader(cast(IO[bytes], source), read_across_frames=True)
        return io.BufferedReader(cast(io.RawIOBase, plain), CHUNK), False
    return source, True


class Prepended:
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, stream: Source) -> None:
        self._start = start
        self._stream = stream

    def read(self, size: int = CHUNK, /) -> bytes:
        if not self._start:
            return self._stream.read(size)
        start, self._start = self._start[:size], self._start[size:]
        return start + self._stream.read(size - len(start))


@contextmanager
def _naming_damage(place: str) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, ZstdError, EOFError) as error:
        cause = f"not a layer that can be read: {error or type(error).__name__}"
        raise Undecided(cause, place, "build or pull the image again") from error
