from __future__ import annotations

import json
import math
import struct

import pytest

from scripts.smoke.models.tensors import (
    BF16,
    F8_E4M3,
    F32,
    Choice,
    Format,
    Tensor,
    Uniform,
    decode_float8,
    safetensors,
)


def floats_of_bfloat16(data: bytes) -> list[float]:
    bits = struct.unpack(f"<{len(data) // 2}H", data)
    return [struct.unpack("<f", struct.pack("<I", value << 16))[0] for value in bits]


def test_tensors_of_one_size_differ_by_name_and_by_seed() -> None:
    first, second = (Tensor(name, (64,), Uniform(1.0), BF16) for name in ("a", "b"))
    assert first.values(0) == first.values(0)
    assert first.values(0) != second.values(0)
    assert first.values(0) != first.values(1)


def test_uniform_values_lie_on_both_sides_of_the_mean_and_within_the_width() -> None:
    values = floats_of_bfloat16(Tensor("any", (4096,), Uniform(1.0, mean=3.0), BF16).values(0))
    assert 3 - math.sqrt(3) - 0.01 <= min(values) < 1.3 and 4.7 < max(values) <= 3 + math.sqrt(3) + 0.01
    assert sum(values) / len(values) == pytest.approx(3, abs=0.1)


def test_choice_takes_each_of_its_values_and_no_other() -> None:
    data = Tensor("any", (4, 64), Choice((0.25, 0.5, 1.0, 2.0)), F32).values(0)
    assert set(struct.unpack("<256f", data)) == {0.25, 0.5, 1.0, 2.0}


@pytest.mark.parametrize(
    ("value", "bits"),
    [(0.0, 0), (1.0, 0x3F80), (-2.0, 0xC000), (1 + 2**-8, 0x3F80), (1 + 3 * 2**-8, 0x3F82), (1 + 2**-7, 0x3F81)],
)
def test_bfloat16_rounds_to_nearest_with_ties_to_even(value: float, bits: int) -> None:
    assert BF16.encode(value) == bits.to_bytes(2, "little")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.0, 0x00),
        (-0.0, 0x80),
        (2**-9, 0x01),  # the smallest
        (2**-10, 0x00),  # a tie between it and 0
        (3 * 2**-10, 0x02),  # a tie between the two smallest
        (7 * 2**-9, 0x07),  # the largest subnormal
        (7.5 * 2**-9, 0x08),  # a tie that is the smallest normal
        (1.0, 0x38),
        (-1.0, 0xB8),
        (1.0625, 0x38),  # a tie between 1 and 1.125
        (1.1875, 0x3A),  # a tie between 1.125 and 1.25
        (1.07, 0x39),
        (1.97, 0x40),  # rounded up into the next exponent
        (448.0, 0x7E),
        (-448.0, 0xFE),
        (1000.0, 0x7E),
        (432.0, 0x7E),  # a tie between 416 and 448
        (400.0, 0x7C),  # a tie between 384 and 416
    ],
)
def test_float8_rounds_to_nearest_with_ties_to_even_and_saturates(value: float, code: int) -> None:
    assert F8_E4M3.encode(value) == bytes([code])


def test_float8_encodes_what_it_decodes() -> None:
    for code in range(256):
        value = decode_float8(code)
        if code & 0x7F == 0x7F:
            assert math.isnan(value)
        else:
            assert F8_E4M3.encode(value) == bytes([code])
    assert decode_float8(0x7E) == 448 and decode_float8(0x81) == -(2**-9) and decode_float8(0x08) == 2**-6


@pytest.mark.parametrize(("form", "width"), [(BF16, 2), (F32, 4), (F8_E4M3, 1)])
def test_a_file_describes_every_tensor_without_gaps(form: Format, width: int) -> None:
    tensors = [Tensor("a", (3, 5), Uniform(1.0), form), Tensor("b", (7,), Uniform(1.0), form)]
    data = safetensors(tensors, 0)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert header.pop("__metadata__") == {"format": "pt"}
    assert header == {
        "a": {"dtype": form.name, "shape": [3, 5], "data_offsets": [0, 15 * width]},
        "b": {"dtype": form.name, "shape": [7], "data_offsets": [15 * width, 22 * width]},
    }
    assert data[8 + length :] == b"".join(tensor.values(0) for tensor in tensors)
