from __future__ import annotations

import math
import struct

from scripts.smoke.models.hybrid import Shape, config, kinds, tensors

SHAPE = Shape()
TENSORS = {tensor.name: tensor for tensor in tensors(SHAPE)}
SIZES = {name: tensor.size for name, tensor in TENSORS.items()}
LINEAR, FULL = (kinds(SHAPE).index(kind) for kind in ("linear_attention", "full_attention"))
CHUNK = 64


def values_of(name: str) -> list[float]:
    data = TENSORS[name].values(0)
    bits = struct.unpack(f"<{len(data) // 2}H", data)
    return [struct.unpack("<f", struct.pack("<I", value << 16))[0] for value in bits]


def test_config_sizes_agree_with_the_tensors() -> None:
    settings = config(SHAPE)
    hidden, delta = settings["hidden_size"], f"model.layers.{LINEAR}.linear_attn"
    keys = settings["linear_num_key_heads"] * settings["linear_key_head_dim"]
    values = settings["linear_num_value_heads"] * settings["linear_value_head_dim"]
    assert SIZES[f"{delta}.in_proj_qkvz.weight"] == (2 * keys + 2 * values, hidden)
    assert SIZES[f"{delta}.in_proj_ba.weight"] == (2 * settings["linear_num_value_heads"], hidden)
    assert SIZES[f"{delta}.conv1d.weight"] == (2 * keys + values, 1, settings["linear_conv_kernel_dim"])
    assert SIZES[f"{delta}.A_log"] == SIZES[f"{delta}.dt_bias"] == (settings["linear_num_value_heads"],)
    assert SIZES[f"{delta}.norm.weight"] == (settings["linear_value_head_dim"],)
    assert SIZES[f"{delta}.out_proj.weight"] == (hidden, values)
    queries = settings["num_attention_heads"] * settings["head_dim"]
    assert SIZES[f"model.layers.{FULL}.self_attn.q_proj.weight"] == (2 * queries, hidden)
    assert SIZES[f"model.layers.{FULL}.self_attn.o_proj.weight"] == (hidden, queries)
    shared = settings["shared_expert_intermediate_size"]
    assert SIZES["model.layers.0.mlp.shared_expert.down_proj.weight"] == (hidden, shared)
    assert SIZES["model.layers.0.mlp.shared_expert_gate.weight"] == (1, hidden)


def test_readers_of_the_interval_and_of_the_list_find_the_same_layers() -> None:
    settings = config(SHAPE)
    assert len(settings["layer_types"]) == settings["num_hidden_layers"]
    for layer, kind in enumerate(settings["layer_types"]):
        assert (kind == "full_attention") == ((layer + 1) % settings["full_attention_interval"] == 0)
        assert (f"model.layers.{layer}.self_attn.q_proj.weight" in SIZES) == (kind == "full_attention")
        assert (f"model.layers.{layer}.linear_attn.A_log" in SIZES) == (kind == "linear_attention")


def test_the_sizes_are_those_that_kernels_are_made_for() -> None:
    assert (SHAPE.key_dim, SHAPE.value_dim, SHAPE.taps) == (128, 128, 4)
    assert SHAPE.head_dim in (64, 128)  # the attention that is compiled ahead of time
    assert 1 < SHAPE.key_heads < SHAPE.value_heads


def test_decays_differ_by_head_and_some_outlast_a_chunk() -> None:
    rates = []
    for layer, kind in enumerate(kinds(SHAPE)):
        if kind == "linear_attention":
            prefix = f"model.layers.{layer}.linear_attn"
            pairs = zip(values_of(f"{prefix}.A_log"), values_of(f"{prefix}.dt_bias"), strict=True)
            rates += [math.exp(log) * math.log1p(math.exp(bias)) for log, bias in pairs]
    halves = [math.log(2) / rate for rate in rates]
    assert len(set(halves)) == len(halves)
    assert min(halves) < CHUNK < max(halves)


def test_norms_multiply_by_one_more_than_their_weight() -> None:
    for name in ("model.norm", "model.layers.0.input_layernorm", f"model.layers.{FULL}.self_attn.k_norm"):
        assert max(map(abs, values_of(f"{name}.weight"))) < 0.4
    assert min(values_of(f"model.layers.{LINEAR}.linear_attn.norm.weight")) > 0.6
