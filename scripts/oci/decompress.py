"""The plain bytes of a layer: a tar as it is, or in gzip or zstd, told apart by how it starts."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from zstandard import ZstdDecompressor, ZstdError

from scripts.errors import Undecided
from scripts.files import CHUNK
from scripts.oci.tar import Source

_GZIP = re.compile(rb"\x1f\x8b")
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one that is to be skipped


# A layer of zeros may be as large as a large image; what is larger is dense, or a bomb.
LARGEST_THIN = 1 << 34
MOST_TIMES = 200


class Bomb(ValueError):
    """A stream that unpacks to more than any layer that is meant to be used."""


class Plain:
    """What a stream decompresses to, hashed as it passes. Raises Bomb where that does not end.

    `sure` says whether its end is certain to be its own: zstd's reader takes a cut for the end.
    """

    def __init__(self, stream: Source) -> None:
        start = stream.read(4)
        self._packed = source = _Counting(start, stream)
        self._size = 0
        self._hasher = hashlib.sha256()
        self._plain: Source = source
        self.sure = True
        if _GZIP.match(start):
            self._plain = gzip.GzipFile(fileobj=cast(IO[bytes], source), mode="rb")
        elif _ZSTD.match(start):
            plain = ZstdDecompressor().stream_reader(cast(IO[bytes], source), read_across_frames=True)
            self._plain, self.sure = io.BufferedReader(cast(io.RawIOBase, plain), CHUNK), False

    def read(self, size: int, /) -> bytes:
        data = self._plain.read(size)
        self._hasher.update(data)
        self._size += len(data)
        if self._size > LARGEST_THIN and self._size > MOST_TIMES * self._packed.taken:
            raise Bomb(f"more than {LARGEST_THIN} bytes, and more than {MOST_TIMES} times what it is packed in")
        return data

    @property
    def digest(self) -> str:
        """The digest of all that was read so far: at the end, a layer's diffID."""
        return f"sha256:{self._hasher.hexdigest()}"


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


class _Counting(Prepended):
    """Tells how many bytes were read."""

    def __init__(self, start: bytes, stream: Source) -> None:
        super().__init__(start, stream)
        self.taken = 0

    def read(self, size: int = CHUNK, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@contextmanager
def naming_damage(place: str) -> Iterator[None]:
    """Turn what the decompressors raise into an Undecided."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, ZstdError, EOFError, Bomb) as error:
        cause = f"not a layer that can be read: {error or type(error).__name__}"
        raise Undecided(cause, place, "build or pull the image again") from error
