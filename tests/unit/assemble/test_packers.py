from __future__ import annotations

import gzip
import hashlib
import io
import random
from typing import Any

import pytest
import zstandard

from scripts.assemble.packers import MEDIA_TYPES, PACKERS, Output, make_packer
from scripts.model import Compression

_RANDOM = random.Random(7)
PIECES = [_RANDOM.randbytes(300) * 1000 + _RANDOM.randbytes(100_000) for _ in range(40)]


def pack(compression: Compression, threads: int) -> bytes:
    buffer = io.BytesIO()
    output = Output(buffer)
    packer = make_packer(output, compression, threads)
    for piece in PIECES:
        packer.write(memoryview(piece))
    packer.finish()
    packed = buffer.getvalue()
    assert (output.size, output.digest.hexdigest()) == (len(packed), hashlib.sha256(packed).hexdigest())
    return packed


def test_zstd_is_read_back() -> None:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(pack("zstd", 1))) as reader:
        assert reader.read() == b"".join(PIECES)


def test_gzip_is_read_back_and_has_no_time_and_no_name() -> None:
    packed = pack("gzip", 1)
    assert gzip.decompress(packed) == b"".join(PIECES)
    assert packed[:8] == b"\x1f\x8b\x08" + bytes(5)


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_threads_change_nothing(compression: Compression) -> None:
    assert pack(compression, 0) == pack(compression, 1) == pack(compression, 2) == pack(compression, 5)


def test_packing_shrinks() -> None:
    assert all(len(pack(compression, 1)) < sum(map(len, PIECES)) / 2 for compression in PACKERS)


def test_both_have_a_media_type() -> None:
    assert {name: kind.rpartition("+")[2] for name, kind in MEDIA_TYPES.items()} == {"zstd": "zstd", "gzip": "gzip"}
    assert PACKERS.keys() == MEDIA_TYPES.keys()


def test_a_file_that_takes_less_than_it_is_given_gets_the_rest() -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:3])

    slow = Slow()
    assert Output(slow).write(b"0123456789") == 10
    assert slow.getvalue() == b"0123456789"
