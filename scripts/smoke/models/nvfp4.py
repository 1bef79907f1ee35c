"""NVFP4, as compressed-tensors stores it: `nvfp4-pack-quantized`, weights and activations in 4 bits.

A weight is E2M1, two to a byte, the first in its lower half: shape (outputs, inputs / 2). It is multiplied by the E4M3
scale of its group of 16 inputs, shape (outputs, inputs / 16), and divided by one F32 number for the whole projection.
Activations are quantised as they come: a group's scale is its largest magnitude / 6 times another such number, in E4M3.

Where an engine's bfloat16 lies close to a tie, it rounds an activation to the reference's neighbour, a quarter of it
away, or all of a group by another scale. So there is one layer alone, and what it reads first is exact in 4 bits:
values of the embedding are 1 or -1, and its norm's weights 0.75, 1 or 1.5. That leaves a third of the difference. The
reference rounds activations, as in FP8: without that, right engines would be farther from it.

Differences from the float64 reference in nats, over all log-probabilities of prompts and answers (CPU, PyTorch 2.13,
transformers 5.24; activations rounded by the functions with which vLLM 0.32.0 emulates NVFP4, the rest in the type);
of a fault, the least over the seven projections:

                                          largest  mean
    float32 with rounded activations      0.0002
    bfloat16 with rounded activations     0.031    0.0071
    bfloat16, activations not rounded     0.042    0.0096
    inputs' global scale taken for 1      0.044    0.0094
    64 outputs of one projection zero     0.060    0.015
    scales of groups in swizzled order    0.075    0.023
    128 inputs of one projection zero     0.078    0.021
    scale of the group before             0.083    0.025
    a projection doubled                  0.14     0.032
    inputs' scales of the group before    0.16     0.043
    halves of bytes swapped               0.22     0.063

An engine that does not round activations (Marlin's kernels) is near enough to pass: that is for the check of kernels.
Scales of inputs cannot show much, for a group's own scale makes up for them.

The mixture of experts, `moe-nvfp4`, has one layer, too, of which the experts alone are in 4 bits. Over its reference,
the second expert leads the third by 1.8 in the router's logits, and bfloat16 moves those by up to 0.026. The same of
it, with vLLM's functions written anew: of a fault in one expert the least and the most over the experts (and their
projections, where it is in one), and how many are beyond the bounds, 0.08 and 0.009. Four in ten of those hide; of what
is in all experts, only the inputs' global scale does.

                                          largest        mean             beyond
    float32 with rounded activations      0.0000
    bfloat16 with rounded activations     0.040          0.0044
    bfloat16, activations not rounded     0.044          0.0072
    inputs' global scale taken for 1      0.033          0.0068
    scale of the group before, all        0.14           0.036
    scales of groups swizzled, all        0.15           0.034
    a global scale doubled, all           0.23           0.036
    halves of bytes swapped, all          0.25           0.061
    inputs' scales of the group before    0.68           0.10
    all doubled                           1.36           0.23
    the next expert's global scales       1.96           0.20
    the first expert's global scales      1.96           0.27
    scales of groups swizzled             0.040 to 0.11  0.0048 to 0.010   4 of 24
    scale of the group before             0.042 to 0.14  0.0048 to 0.010   9 of 24
    global scale of one doubled           0.044 to 0.13  0.0050 to 0.010  10 of 24
    half of the outputs zero              0.044 to 0.22  0.0049 to 0.012  13 of 24
    half of the inputs zero               0.044 to 0.22  0.0053 to 0.013  16 of 24
    global scale of gate and up doubled   0.067 to 0.18  0.0054 to 0.012   4 of 8
    gate and up swapped                   0.069 to 0.14  0.0056 to 0.012   6 of 8
    a projection doubled                  0.076 to 0.28  0.0058 to 0.016  22 of 24
    left out                              0.082 to 0.22  0.0058 to 0.015   8 of 8
    halves of bytes swapped               0.10 to 0.32   0.0058 to 0.021  24 of 24
    two experts swapped                   0.13 to 0.45   0.015 to 0.029    8 of 8

https://github.com/vllm-project/compressed-tensors, src/compressed_tensors/compressors/nvfp4
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from scripts.smoke.models.quantised import Scheme, describe
from scripts.smoke.models.tensors import F8_E4M3, F32, U8, Choice, Tensor, Uniform

GROUP = 16
LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # of E2M1, by its code without the sign
# Scales of groups are exact in E4M3, and up to 3.75 apart, so that a kernel that takes another group's is seen.
FACTORS = tuple(eighths / 8 for eighths in (*range(8, 16), *range(16, 32, 2)))
# What weights and inputs of a projection are multiplied by before their groups are scaled: all differ, but for those of
# projections that engines fuse, which have to be the same. Scales of groups then lie within 4 and 120.
GLOBAL_SCALES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj"), (1736.0, 384.0)),
        "o_proj": (4340.0, 416.0),
        **dict.fromkeys(("gate_proj", "up_proj"), (868.0, 320.0)),
        "down_proj": (3760.0, 256.0),
    }
)
# Those of experts, whose inputs are larger where a router reads. Weights are multiplied by one of the factors besides:
# no expert has the number of the one before.
EXPERT_SCALES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {**dict.fromkeys(("gate_proj", "up_proj"), (868.0, 224.0)), "down_proj": (940.0, 160.0)}
)
EXPERT_FACTORS = (0.5, 1.0, 2.0)
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
# Normed, these are 3, 4 and 6 times a power of two: 4 bits hold them exactly.
EXACT: Mapping[str, Choice] = MappingProxyType(
    {
        "model.embed_tokens.weight": Choice((-1.0, 1.0)),
        "model.layers.0.input_layernorm.weight": Choice((0.75, 1.0, 1.0, 1.5)),
    }
)


def quantise(tensors: Iterable[Tensor], scheme: Scheme) -> Iterator[Tensor]:
    """The same tensors, with weights of about the same standard deviation in NVFP4 for the layers that are covered.

    What the first layer reads is made exact in 4 bits, if that layer is covered.
    """
    exact = EXACT if scheme.covers("model.layers.0.self_attn.q_proj.weight") else {}
    for tensor in tensors:
        if scheme.covers(tensor.name):
            yield from _packed(tensor)
        else:
            yield replace(tensor, distribution=exact.get(tensor.name, tensor.distribution))


def _packed(tensor: Tensor) -> Iterator[Tensor]:
    assert isinstance(tensor.distribution, Uniform)
    outputs, inputs = tensor.size
    layer = tensor.name.removesuffix(".weight")
    weight_scale, input_scale = global_scales(layer)
    scale = tensor.distribution.deviation * weight_scale / _root_mean_square(LEVELS) / _root_mean_square(FACTORS)
    base = 2.0 ** round(math.log2(scale))  # times a factor of few bits it is exact
    yield Tensor(f"{layer}.weight_packed", (outputs, inputs // 2), Choice(tuple(map(float, range(256)))), U8)
    yield Tensor(f"{layer}.weight_scale", (outputs, inputs // GROUP), Choice(tuple(base * f for f in FACTORS)), F8_E4M3)
    yield Tensor(f"{layer}.weight_global_scale", (1,), Choice((weight_scale,)), F32)
    yield Tensor(f"{layer}.input_global_scale", (1,), Choice((input_scale,)), F32)


def global_scales(layer: str) -> tuple[float, float]:
    """What the weights and the inputs of a projection, by its whole name, are multiplied by."""
    projection = layer.rpartition(".")[2]
    expert = _EXPERT.search(layer)
    if not expert:
        return GLOBAL_SCALES[projection]
    weight, inputs = EXPERT_SCALES[projection]
    return weight * EXPERT_FACTORS[int(expert[1]) % len(EXPERT_FACTORS)], inputs


def _root_mean_square(values: tuple[float, ...]) -> float:
    return math.hypot(*values) / math.sqrt(len(values))


def quantization_config(scheme: Scheme) -> dict[str, Any]:
    """The `quantization_config` of config.json."""
    kind = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": GROUP}
    return describe(scheme, "nvfp4-pack-quantized", {**kind, "dynamic": False}, {**kind, "dynamic": "local"})
