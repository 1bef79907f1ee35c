"""Tensors made from a seed, and the safetensors file that holds them. Standard library only, hence no arrays.

A value is one draw: a byte of SHAKE-256 over the seed and the tensor's name, which picks one of 256 levels. Levels are
what the storage format can hold exactly, so engines of every precision start from identical values.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

LARGEST_F8 = 448.0


@dataclass(frozen=True)
class Format:
    """How safetensors stores a value: the name of the type, its bytes, and the nearest encoding of a finite number."""

    name: str
    width: int
    encode: Callable[[float], bytes]


@dataclass(frozen=True)
class Uniform:
    """Evenly spaced levels with this standard deviation around a mean."""

    deviation: float
    mean: float = 0.0

    def levels(self) -> list[float]:
        half_width = self.deviation * math.sqrt(3)
        return [self.mean + half_width * (2 * draw - 255) / 255 for draw in range(256)]


@dataclass(frozen=True)
class Choice:
    """A few values, each as likely as the others. Their number divides 256."""

    values: tuple[float, ...]

    def levels(self) -> list[float]:
        return list(self.values) * (256 // len(self.values))


class Distribution(Protocol):
    """What values are drawn from: a number for each of the 256 draws."""

    def levels(self) -> list[float]: ...


@dataclass(frozen=True)
class Tensor:
    """A tensor's name as checkpoints have it, its size, and how its values are drawn and stored."""

    name: str
    size: tuple[int, ...]
    distribution: Distribution
    format: Format

    @property
    def length(self) -> int:
        """How many bytes the values take."""
        return math.prod(self.size) * self.format.width

    def values(self, seed: int) -> bytes:
        """The values in row-major order, little-endian. Each byte of the format is mapped for all draws at once."""
        drawn = draws(seed, self.name, math.prod(self.size))
        levels = [self.format.encode(level) for level in self.distribution.levels()]
        width = self.format.width
        data = bytearray(width * len(drawn))
        for place in range(width):
            data[place::width] = drawn.translate(bytes(level[place] for level in levels))
        return bytes(data)


def draws(seed: int, name: str, count: int) -> bytes:
    """`count` bytes that depend on the seed and the name alone."""
    return hashlib.shake_256(f"{seed}/{name}".encode()).digest(count)


def encode_float32(value: float) -> bytes:
    """The four bytes of the float32 nearest to a finite value."""
    return struct.pack("<f", value)


def encode_bfloat16(value: float) -> bytes:
    """The two bytes of the BF16 number nearest to a finite float32, ties to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


def decode_float8(code: int) -> float:
    """The value of an F8_E4M3 byte, NaN for 0x7F and 0xFF: sign, 4 bits of exponent (bias 7), 3 of mantissa, no inf."""
    sign, exponent, mantissa = -1 if code & 0x80 else 1, code >> 3 & 15, code & 7
    if code & 0x7F == 0x7F:
        return math.nan
    return sign * math.ldexp(mantissa + (8 if exponent else 0), max(exponent, 1) - 10)


def encode_float8(value: float) -> bytes:
    """The byte of the F8_E4M3 number nearest to a finite value, ties to even; beyond ±448 it is ±448."""
    magnitude = min(abs(value), LARGEST_F8)
    # Numbers below 2^-6 are subnormal: their step is the 2^-9 of those above it.
    exponent = max(math.frexp(magnitude)[1] - 1, -6) if magnitude else -6
    steps = round(math.ldexp(magnitude, 3 - exponent))  # round() takes ties to even
    # A mantissa that is rounded up to 16 eighths runs over into the next exponent by itself.
    code = steps + (exponent + 6) * 8
    return bytes([code | (0x80 if math.copysign(1, value) < 0 else 0)])


BF16 = Format("BF16", 2, encode_bfloat16)
F32 = Format("F32", 4, encode_float32)
U8 = Format("U8", 1, lambda value: bytes([int(value)]))
F8_E4M3 = Format("F8_E4M3", 1, encode_float8)


def safetensors(tensors: Iterable[Tensor], seed: int) -> bytes:
    """A safetensors file: the header's length, its JSON padded to 8 bytes, the values of every tensor in order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    contents = []
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.length
        header[tensor.name] = {"dtype": tensor.format.name, "shape": list(tensor.size), "data_offsets": [start, end]}
        contents.append(tensor.values(seed))
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + b"".join(contents)
