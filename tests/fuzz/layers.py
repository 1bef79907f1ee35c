"""Layers: tars, as they are and packed, laid over each other; where Go is there, held against an engine's unpacking."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

from scripts.audit.images import merge_libraries
from scripts.audit.library import Keeper
from scripts.oci.layer import Names, scan_layer
from tests.fuzz.code import make_libraries, show
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.scratch import make_folder
from tests.fuzz.subject import Subject
from tests.tar_oracle.compare import compare
from tests.tar_oracle.go import Engine, build, has_go
from tests.tar_oracle.made import make_image
from tests.unit.oci.made import make_tar, zstd

_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_LENGTH = struct.Struct("<I")
BLOCK = 512


def join(layers: Sequence[bytes]) -> bytes:
    """Layers as one input: each behind its length."""
    return b"".join(_LENGTH.pack(len(layer)) + layer for layer in layers)


def split(data: bytes) -> list[bytes]:
    """The layers of an input."""
    layers: list[bytes] = []
    while len(data) >= _LENGTH.size and len(layers) < 8:
        size = _LENGTH.unpack_from(data)[0]
        layers.append(data[_LENGTH.size : _LENGTH.size + size])
        data = data[_LENGTH.size + size :]
    return layers


def make_layers() -> list[bytes]:
    """Layers with libraries, in each way of packing; and images that readers of tars could take differently."""
    one, two = make_libraries()[:2]
    lower = make_tar(("usr/lib/a.so", one), ("usr/lib/b.so", two), ("lib", "link", "usr/lib"), ("usr/c.so", one))
    upper = make_tar(("lib/.wh.a.so", b""), ("lib/d.so", "hard", "usr/lib/b.so"), (f"{'x' * 120}.so", one))
    odd = [join(make_image(number)) for number in range(12)]
    return [join([lower]), join([lower, upper]), join([gzip.compress(lower), zstd(upper)]), *odd]


def mutate_layers(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Another odd image; or layers with some bytes changed, and with sums that are right most of the time."""
    is_new = random.random() < 0.25
    layers = make_image(random.randrange(20_000, 1 << 40)) if is_new else split(data) or [b""]
    if random.random() < 0.7:
        place = random.randrange(len(layers))
        layers[place] = _mutate_layer(random, layers[place], others)
    if random.random() < 0.08:
        place = random.randrange(len(layers))
        packed = random.choice((gzip.compress, zstd))(layers[place])
        layers[place] = mutate_bytes(random, packed, others, [(0, 18)]) if random.random() < 0.7 else packed
    return join(layers)


def _mutate_layer(random: Random, layer: bytes, others: Sequence[bytes]) -> bytes:
    if layer.startswith(_PACKED):
        return mutate_bytes(random, layer, others, [(0, 24)])
    heads = [place for place in range(0, len(layer), BLOCK) if layer[place + 257 : place + 262] == b"ustar"]
    made = mutate_bytes(random, layer, others, [(place, place + BLOCK) for place in heads])
    return _mend_sums(made) if random.random() < 0.85 else made


def _mend_sums(layer: bytes) -> bytes:
    """Every header's sum made right, as far as headers are where they were."""
    body = bytearray(layer)
    for place in range(0, len(body) - BLOCK + 1, BLOCK):
        if body[place + 257 : place + 262] == b"ustar":
            total = sum(body[place : place + 148]) + 8 * 32 + sum(body[place + 156 : place + BLOCK])
            body[place + 148 : place + 156] = b"%06o\0 " % total
    return bytes(body)


def read(data: bytes, folder: Path) -> None:
    """As the audit does; and some of them as an engine does, where Go is there."""
    layers = split(data)
    if (
        zlib.crc32(data) % 4 == 0
        and (engine := _ORACLE.find())
        and not any(layer.startswith(_PACKED) for layer in layers)
    ):
        if different := compare(layers, engine.ask(layers)):
            raise AssertionError(f"read otherwise than an engine unpacks it: {different}")
        return
    names, keep = Names(), Keeper("image").keep
    scanned = [scan_layer(io.BytesIO(layer), "layer", keep, names) for layer in layers]
    show(*merge_libraries(scanned, "image"))


class _Oracle:
    """What engines make of layers, once Go's program was built; each process has one of its own running."""

    def __init__(self) -> None:
        self._program: Path | None = None
        self._running: dict[int, Engine] = {}

    def prepare(self) -> None:
        if has_go():
            self._program = build(make_folder())

    def find(self) -> Engine | None:
        if self._program and os.getpid() not in self._running:
            self._running = {os.getpid(): Engine(self._program)}
        return self._running.get(os.getpid())


_ORACLE = _Oracle()

SUBJECTS = (Subject("layers", 100_000, make_layers, mutate_layers, read, prepare=_ORACLE.prepare),)
