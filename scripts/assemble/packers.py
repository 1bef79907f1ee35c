"""The two ways a layer's bytes are packed. Each gives the same bytes for the same input, whatever the machine does."""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Protocol

import zstandard
from zlib_ng import zlib_ng

from scripts.assemble.tree import Data
from scripts.model import Compression
from scripts.oci.descriptor import LAYER_GZIP, LAYER_ZSTD

MEDIA_TYPES: dict[Compression, str] = {
    "zstd": LAYER_ZSTD,
    "gzip": LAYER_GZIP,
}
# What the packed bytes depend on beside the input.
_ZSTD_LEVEL, _GZIP_LEVEL = 3, 4
PACKERS: dict[Compression, list[str | int]] = {
    "zstd": [zstandard.__version__, *zstandard.ZSTD_VERSION, _ZSTD_LEVEL],
    "gzip": [zlib_ng.ZLIBNG_RUNTIME_VERSION, _GZIP_LEVEL],
}
_WRITE = 1 << 20  # bytes written at a time


class Output:
    """Hashes (SHA-256) and counts what goes into a file without a buffer of its own."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        rest = memoryview(data)
        while rest:  # such a file may take less than it is given
            rest = rest[self._stream.write(rest) :]
        return len(data)


class Packer(Protocol):
    """Packs into an Output what is written to it; `finish` writes the rest."""

    def write(self, data: Data | memoryview) -> object: ...

    def finish(self) -> None: ...


class _Zstd:
    """zstd in `threads` threads beside the caller's. Their number changes nothing, but that there are any does."""

    def __init__(self, output: Output, threads: int) -> None:
        packer = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, threads=threads)
        self._writer = packer.stream_writer(output, write_size=_WRITE, closefd=False)  # type: ignore[arg-type]

    def write(self, data: Data | memoryview) -> object:
        return self._writer.write(data)

    def finish(self) -> None:
        self._writer.close()  # type: ignore[no-untyped-call]


class _Gzip:
    """One stream in the caller's thread. The header that zlib writes has neither a name nor a time in it."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._packer = zlib_ng.compressobj(_GZIP_LEVEL, zlib_ng.DEFLATED, 16 + zlib_ng.MAX_WBITS)

    def write(self, data: Data | memoryview) -> object:
        return self._output.write(self._packer.compress(data))

    def finish(self) -> None:
        self._output.write(self._packer.flush())


def make_packer(output: Output, compression: Compression, threads: int) -> Packer:
    """A packer into `output`. `threads` are zstd's, at least one."""
    return _Zstd(output, max(threads, 1)) if compression == "zstd" else _Gzip(output)
