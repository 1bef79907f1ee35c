"""The FP8 variants of a model, as compressed-tensors stores them: FP8_DYNAMIC and FP8_BLOCK in its own terms.

A weight is F8_E4M3 times an F32 scale: one for each output channel, shape (outputs, 1), or one for each block of
128 × 128, shape (outputs / 128, inputs / 128). Activations are quantised as they come, for each token, or for each 128
of its values; their scale is the largest magnitude / 448.

Where an engine's bfloat16 lies close to a tie, it rounds an activation to the neighbour of the reference's value, which
is up to 2^-4 of it away. A layer later nearly all such roundings are independent of the reference's, so that these
models are compared more loosely than those in BF16. Differences from the float64 reference in nats, over all
log-probabilities of prompts and answers (CPU, PyTorch 2.13, transformers 5.24; FP8 emulated, the rest in bfloat16):

                                        llama-fp8         llama-fp8-block   moe-fp8
                                        largest  mean     largest  mean     largest  mean
    bfloat16 with rounded activations   0.080    0.019    0.035    0.008    0.064    0.017
    bfloat16, activations not rounded   0.078    0.018    0.028    0.008    0.064    0.016
    doubled scales of one q_proj        0.320    0.051    0.122    0.028
    doubled scales of one v_proj        0.419    0.112    0.199    0.048
    doubled scales of one gate_proj     0.429    0.132    0.431    0.103
    doubled scales of one down_proj     0.382    0.112    0.320    0.084
    128 × 128 of a gate_proj doubled    0.179    0.042    0.125    0.033
    scales of a down_proj permuted      0.169    0.052    0.196    0.042

https://github.com/vllm-project/compressed-tensors, src/compressed_tensors/quantization/quant_scheme.py
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from scripts.smoke.models.tensors import F8_E4M3, F32, LARGEST_F8, Choice, Tensor, Uniform

BLOCK = 128
# Scales of channels differ by up to 2.5, so that a kernel that takes another channel's is seen. With 5 bits of mantissa
# they are exact in bfloat16 too, to which kernels that only store FP8 may convert them. Scales of blocks are powers of
# two: some kernels keep nothing but the exponent.
CHANNEL_FACTORS = tuple(sixteenths / 16 for sixteenths in range(10, 26))
BLOCK_FACTORS = (1.0, 2.0)


@dataclass(frozen=True)
class Scheme:
    """Which linear layers of a model are FP8, by a pattern over their names, and whether scales are for blocks.

    Or they are in 4 bits, which the module `nvfp4` describes.
    """

    layers: str
    ignore: tuple[str, ...]
    blocks: bool = False
    nvfp4: bool = False

    def covers(self, tensor: str) -> bool:
        """Whether a tensor is the weight of such a layer."""
        return re.fullmatch(rf"({self.layers})\.weight", tensor) is not None


def quantise(tensors: Iterable[Tensor], scheme: Scheme) -> Iterator[Tensor]:
    """The same tensors, with FP8 weights of about the same standard deviation for the layers that the scheme covers."""
    for tensor in tensors:
        if not scheme.covers(tensor.name):
            yield tensor
            continue
        assert isinstance(tensor.distribution, Uniform)
        outputs, inputs = tensor.size
        yield replace(tensor, distribution=Uniform(LARGEST_F8 / math.sqrt(3)), format=F8_E4M3)
        size, factors = (outputs, 1), CHANNEL_FACTORS
        if scheme.blocks:
            size, factors = (outputs // BLOCK, inputs // BLOCK), BLOCK_FACTORS
        scale = tensor.distribution.deviation * math.sqrt(3) / LARGEST_F8 / math.hypot(*factors) * len(factors) ** 0.5
        base = 2.0 ** round(math.log2(scale))  # times a factor of few bits it is exact
        yield Tensor(f"{tensor.name}_scale", size, Choice(tuple(base * factor for factor in factors)), F32)


def quantization_config(scheme: Scheme) -> dict[str, Any]:
    """The `quantization_config` of config.json."""
    kind = {"num_bits": 8, "type": "float", "symmetric": True}
    weights: dict[str, Any] = {**kind, "dynamic": False, "strategy": "channel"}
    activations: dict[str, Any] = {**kind, "dynamic": True, "strategy": "token"}
    if scheme.blocks:
        weights |= {"strategy": "block", "block_structure": [BLOCK, BLOCK]}
        activations |= {"strategy": "group", "group_size": BLOCK}
    return describe(scheme, "float-quantized", weights, activations)


def describe(scheme: Scheme, form: str, weights: dict[str, Any], activations: dict[str, Any]) -> dict[str, Any]:
    """What compressed-tensors says of layers that are all stored in one format, with how each kind of number is."""
    group = {
        "targets": ["Linear"],
        "weights": weights,
        "input_activations": activations,
        "output_activations": None,
        "format": form,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": list(scheme.ignore),
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
    }
