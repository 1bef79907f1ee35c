from __future__ import annotations

import math
import struct
from itertools import pairwise
from types import SimpleNamespace

import pytest

from scripts.smoke.models.float64 import name_projection
from scripts.smoke.models.nvfp4 import (
    EXACT,
    EXPERT_FACTORS,
    EXPERT_SCALES,
    GLOBAL_SCALES,
    GROUP,
    LEVELS,
    global_scales,
    quantise,
    quantization_config,
)
from scripts.smoke.models.quantised import Scheme
from scripts.smoke.models.tensors import BF16, F8_E4M3, F32, U8, Tensor, Uniform, decode_float8
from scripts.smoke.models.zoo import MODELS, Model

SCHEME = Scheme(r"[\w.]+_proj", ignore=("lm_head",), nvfp4=True)
OTHER = Tensor("norm.weight", (256,), Uniform(0.2, mean=1.0), BF16)
MODEL = MODELS["llama-nvfp4"]
EXPERTS = MODELS["moe-nvfp4"]
BOTH = pytest.mark.parametrize("model", [MODEL, EXPERTS], ids=["llama", "moe"])


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
    ("name", "deviation"),
    [
        ("q_proj", 1 / 8),
        ("v_proj", 1 / 16),
        ("o_proj", 1 / 80),
        ("down_proj", 1 / 139),
        *((f"mlp.experts.{expert}.gate_proj", 1 / 16) for expert in range(3)),
        ("mlp.experts.7.down_proj", 1 / 17.1),
    ],
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


@BOTH
def test_scales_of_groups_differ_and_are_exact_normal_numbers(model: Model) -> None:
    for tensor in model.tensors:
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


def test_no_expert_has_the_global_scale_of_the_one_before() -> None:
    """So a kernel that takes another expert's is seen; their weights are as large all the same."""
    tensors = {tensor.name: tensor for tensor in EXPERTS.tensors}
    for projection in EXPERT_SCALES:
        prefix = "model.layers.0.mlp.experts"
        found = [tensors[f"{prefix}.{expert}.{projection}.weight_global_scale"].distribution for expert in range(8)]
        scales = [levels[0] for levels in (each.levels() for each in found)]
        assert all(max(one, other) >= 2 * min(one, other) for one, other in pairwise(scales))
        inputs = {tensors[f"{prefix}.{expert}.{projection}.input_global_scale"].values(0) for expert in range(8)}
        assert len(inputs) == 1  # some kernels take the least of all for each


def test_projections_of_an_expert_that_engines_fuse_share_their_global_scales_and_no_others_do() -> None:
    assert EXPERT_SCALES["gate_proj"] == EXPERT_SCALES["up_proj"]
    assert not set(EXPERT_SCALES["gate_proj"]) & set(EXPERT_SCALES["down_proj"])
    for factor in EXPERT_FACTORS:
        assert factor == 2.0 ** round(math.log2(factor))  # so that weights are the same whatever the factor


def test_only_experts_are_in_four_bits_in_the_mixture_and_nothing_else_is_made_exact() -> None:
    packed = [tensor.name for tensor in EXPERTS.tensors if tensor.format == U8]
    assert packed and all(".mlp.experts." in name for name in packed)
    tensors = {tensor.name: tensor for tensor in EXPERTS.tensors}
    assert all(tensors[name].distribution != EXACT[name] for name in EXACT)


def test_the_reference_rounds_what_a_projection_reads_by_that_ones_scale() -> None:
    experts = SimpleNamespace(down_proj=SimpleNamespace(shape=(8, 256, 128)))
    name = "model.layers.0.mlp.experts"
    found = [global_scales(name_projection(name, experts, inputs))[1] for inputs in (256, 128)]
    assert found == [EXPERT_SCALES["up_proj"][1], EXPERT_SCALES["down_proj"][1]]
    linear = "model.layers.0.self_attn.o_proj"
    assert name_projection(linear, SimpleNamespace(), 256) == linear


def test_what_the_first_layer_reads_is_exact_in_four_bits() -> None:
    """So no rounding of an engine moves it: far from a tie, and by scales that E4M3 has."""
    assert set(EXACT) <= {tensor.name for tensor in MODEL.tensors}
    embedding, norm = (EXACT[name].values for name in sorted(EXACT))
    assert {abs(value) for value in embedding} == {1.0}  # whose norm is 1, whatever the token
    _, input_scale = GLOBAL_SCALES["q_proj"]
    scale = max(norm) * input_scale / LEVELS[-1]
    assert decode_float8(F8_E4M3.encode(scale)[0]) == scale
    assert all(value * input_scale / scale in LEVELS for value in norm)


@BOTH
def test_sizes_are_those_that_kernels_take(model: Model) -> None:
    for tensor in model.tensors:
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
