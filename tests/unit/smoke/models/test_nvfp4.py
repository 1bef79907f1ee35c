from __future__ import annotations

import struct

import pytest

from scripts.smoke.models.nvfp4 import EXACT, GLOBAL_SCALES, GROUP, LEVELS, quantise, quantization_config
from scripts.smoke.models.quantised import Scheme
from scripts.smoke.models.tensors import BF16, F8_E4M3, F32, U8, Tensor, Uniform, decode_float8
from scripts.smoke.models.zoo import MODELS

SCHEME = Scheme(r"\w+_proj", ignore=("lm_head",), nvfp4=True)
OTHER = Tensor("norm.weight", (256,), Uniform(0.2, mean=1.0), BF16)
MODEL = MODELS["llama-nvfp4"]


def layer(name: str, deviation: float) -> Tensor:
    return Tensor(f"{name}.weight", (512, 256), Uniform(deviation), BF16)


def test_a_covered_layer_becomes_packed_weights_and_three_kinds_of_scales() -> None:
    made = list(quantise([OTHER, layer("q_proj", 1 / 8)], SCHEME))
    assert made[0] == OTHER
    assert [(tensor.name, tensor.size, tensor.format) for tensor in made[1:]] == [
        ("q_proj.weight_packed", (512, 128), U8),
        ("q_proj.weight_scale", (512, 256 // GROUP), F8_E4M3),
        ("q_proj.weight_global_scale", (1,), F32),
        ("q_proj.input_global_scale", (1,), F32),
    ]


@pytest.mark.parametrize(
    ("name", "deviation"), [("q_proj", 1 / 8), ("v_proj", 1 / 16), ("o_proj", 1 / 80), ("down_proj", 1 / 139)]
)
def test_weights_times_scales_are_as_large_as_before(name: str, deviation: float) -> None:
    packed, scale, weight_global, _ = quantise([layer(name, deviation)], SCHEME)
    levels = [sign * level for sign in (1, -1) for level in LEVELS]
    values = [levels[half] for byte in packed.values(0) for half in (byte & 15, byte >> 4)]
    assert set(values) == set(levels)
    scales = [decode_float8(code) for code in scale.values(0)]
    (divisor,) = struct.unpack("<f", weight_global.values(0))
    squares = [
        (value * scales[place // GROUP]) ** 2 / divisor**2 for place, value in enumerate(values)
    ]  # rows are whole groups
    assert (sum(squares) / len(squares)) ** 0.5 == pytest.approx(deviation, rel=0.02)


def test_scales_of_groups_differ_and_are_exact_normal_numbers() -> None:
    for tensor in MODEL.tensors:
        if tensor.format == F8_E4M3:
            codes = set(tensor.values(0))
            assert len(codes) == 16
            assert all(2**-6 <= decode_float8(code) <= 448 for code in codes)
            assert {decode_float8(code) for code in codes} == set(tensor.distribution.levels())


def test_projections_that_engines_fuse_share_their_global_scales_and_no_others_do() -> None:
    fused = [("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)]
    for names in fused:
        assert len({GLOBAL_SCALES[name] for name in names}) == 1
    for kind in (0, 1):
        assert len({GLOBAL_SCALES[names[0]][kind] for names in fused}) == len(fused)


def test_what_the_first_layer_reads_is_exact_in_four_bits() -> None:
    """So no rounding of an engine moves it: far from a tie, and by scales that E4M3 has."""
    assert set(EXACT) <= {tensor.name for tensor in MODEL.tensors}
    embedding, norm = (EXACT[name].values for name in sorted(EXACT))
    assert {abs(value) for value in embedding} == {1.0}  # whose norm is 1, whatever the token
    _, input_scale = GLOBAL_SCALES["q_proj"]
    scale = max(norm) * input_scale / LEVELS[-1]
    assert decode_float8(F8_E4M3.encode(scale)[0]) == scale
    assert all(value * input_scale / scale in LEVELS for value in norm)


def test_sizes_are_those_that_kernels_take() -> None:
    for tensor in MODEL.tensors:
        if tensor.format == U8:
            outputs, half_of_inputs = tensor.size
            assert outputs % 128 == 0 and half_of_inputs * 2 % 128 == 0


def test_the_config_says_that_both_sides_are_in_four_bits() -> None:
    described = quantization_config(SCHEME)
    assert described["quant_method"] == "compressed-tensors" and described["format"] == "nvfp4-pack-quantized"
    group = described["config_groups"]["group_0"]
    for side, dynamic in (("weights", False), ("input_activations", "local")):
        settings = group[side]
        assert (settings["num_bits"], settings["type"], settings["symmetric"]) == (4, "float", True)
        assert (settings["strategy"], settings["group_size"]) == ("tensor_group", 16)
        assert settings["dynamic"] == dynamic
