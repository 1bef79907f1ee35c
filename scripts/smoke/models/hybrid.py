"""The hybrid: a Qwen3-Next, whose layers are gated delta nets but for one of full attention, and mixtures of experts.

A gated delta net keeps, for each head, one matrix for all that it has read, which each token decays and overwrites in
part, and the last tokens that its convolution needs. Kernels take a prompt in chunks of 64 tokens and an answer token
by token, so a state can be lost or spoilt between chunks, and between the prompt and its answer. Here states halve
within some 10 to 300 tokens, and one of the reference's prompts has four chunks. The delta net norms its queries and
keys, and what each head puts out: errors of their scale alone do not show.

Experts are chosen as in `moe`: over the reference, the second leads the third by 0.45 or more in the router's logits,
and bfloat16 moves those by up to 0.032.

Differences from the float64 reference in nats, over all log-probabilities of prompts and answers (CPU, PyTorch 2.13,
transformers 5.24); faults are in one layer, where they can be. Engines' kernels round within a chunk, too: queries,
keys, the inverse, the state and the new values, each to bfloat16.

                                             largest  mean
    bfloat16, chunks in float32              0.018    0.004
    bfloat16, chunks rounded as engines do   0.014    0.004
    answers alone, state kept in bfloat16    0.009    0.004
    weight of keys' norm left out            0.11     0.025
    rope_theta 500000 for 10000              0.16     0.030
    weight of the gated norm left out        0.17     0.041
    A_log taken for the decay itself         0.18     0.040
    queries' norm by the weight, not 1 + it  0.19     0.046
    output gate of attention left out        0.21     0.052
    whole heads rotated, not a quarter       0.25     0.061
    projections of b and a read unmixed      0.30     0.062
    dt_bias of a neighbouring head           0.31     0.057
    a head's state lost between chunks       0.36     0.008
    all states lost between chunks           0.36     0.034
    decays of a neighbouring head            0.38     0.069
    gate of the shared expert left out       0.44     0.096
    decay left out                           0.55     0.091
    states not decayed between chunks        0.65     0.087
    key heads tiled and not repeated         0.68     0.15
    query and gate of a head swapped         0.71     0.13
    taps of the convolution reversed         0.74     0.20
    no update, only addition                 0.91     0.24
    norm of queries and keys left out        1.41     0.32
    answers alone, convolution's state lost  0.33     0.12
    answers alone, state lost                0.58     0.17
    answers alone, state transposed          0.68     0.27
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.smoke.models import llama, moe
from scripts.smoke.models.tensors import BF16, Tensor, Uniform


@dataclass(frozen=True)
class Shape(moe.Shape):
    """The sizes of a Qwen3-Next. Those of heads are the real one's, for which engines have kernels."""

    head_dim: int = 128
    addition: float = 0.6  # every layer adds to the dimensions that routers read, which are to stay far apart
    route: float = 13.0
    rotary: float = 0.25  # the part of a head's queries and keys that has positions
    interval: int = 2  # of so many layers, the last has full attention
    key_heads: int = 2
    value_heads: int = 4
    key_dim: int = 128
    value_dim: int = 128
    taps: int = 4  # how many tokens the convolution over time reads
    forgetting: float = -4.0  # mean of dt_bias: states halve within 10 to 300 tokens, so that chunks of 64 matter
    variety: float = 0.7  # standard deviation of dt_bias and A_log, which are one number for each head
    update: float = 1.5  # standard deviation of what says how much of a state a token overwrites


def tensors(shape: Shape) -> Iterator[Tensor]:
    """Every tensor of the model, in BF16."""
    for tensor in moe.ends(shape):
        yield from norms(shape.hidden, "model.norm") if tensor.name == "model.norm.weight" else [tensor]
    for layer, kind in enumerate(kinds(shape)):
        prefix = f"model.layers.{layer}"
        yield from norms(shape.hidden, f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm")
        if kind == "full_attention":
            yield from attention_tensors(shape, f"{prefix}.self_attn")
        else:
            yield from delta_tensors(shape, f"{prefix}.linear_attn")
        yield from moe.expert_tensors(shape, f"{prefix}.mlp")
        shared = f"{prefix}.mlp.shared_expert"
        yield from llama.mlp_tensors(shape.hidden, shape.intermediate, 2 * shape.addition, shared)
        yield Tensor(f"{shared}_gate.weight", (1, shape.hidden), llama.unit(shape.hidden), BF16)


def kinds(shape: Shape) -> list[str]:
    """What each layer has, in the words of config.json."""
    return ["linear_attention" if (layer + 1) % shape.interval else "full_attention" for layer in range(shape.layers)]


def attention_tensors(shape: Shape, prefix: str) -> Iterator[Tensor]:
    """Grouped-query attention. For each head q_proj has the query, and after it the gate of what the head puts out."""
    hidden, queries, keys = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield Tensor(f"{prefix}.q_proj.weight", (2 * queries, hidden), llama.unit(hidden), BF16)
    yield Tensor(f"{prefix}.k_proj.weight", (keys, hidden), llama.unit(hidden), BF16)
    yield Tensor(f"{prefix}.v_proj.weight", (keys, hidden), llama.unit(hidden), BF16)
    # Gates halve what comes here.
    yield Tensor(f"{prefix}.o_proj.weight", (hidden, queries), llama.unit(queries, 2 * shape.addition), BF16)
    yield Tensor(f"{prefix}.q_norm.weight", (shape.head_dim,), Uniform(0.2, shape.sharpness - 1), BF16)
    yield from norms(shape.head_dim, f"{prefix}.k_norm")


def delta_tensors(shape: Shape, prefix: str) -> Iterator[Tensor]:
    """A gated delta net: projections that lie together for each key head, a convolution, decays, a norm with a gate."""
    hidden, keys, values = shape.hidden, shape.key_heads * shape.key_dim, shape.value_heads * shape.value_dim
    yield Tensor(f"{prefix}.in_proj_qkvz.weight", (2 * keys + 2 * values, hidden), llama.unit(hidden), BF16)
    yield Tensor(f"{prefix}.in_proj_ba.weight", (2 * shape.value_heads, hidden), llama.unit(hidden, shape.update), BF16)
    yield Tensor(f"{prefix}.conv1d.weight", (2 * keys + values, 1, shape.taps), llama.unit(shape.taps), BF16)
    yield Tensor(f"{prefix}.A_log", (shape.value_heads,), Uniform(shape.variety), BF16)
    yield Tensor(f"{prefix}.dt_bias", (shape.value_heads,), Uniform(shape.variety, shape.forgetting), BF16)
    yield from llama.norms(shape.value_dim, f"{prefix}.norm")
    yield Tensor(f"{prefix}.out_proj.weight", (hidden, values), llama.unit(values, 2 * shape.addition), BF16)


def norms(size: int, *names: str) -> Iterator[Tensor]:
    """Weights of RMS norms that multiply by one more than their weight."""
    for name in names:
        yield Tensor(f"{name}.weight", (size,), Uniform(0.2), BF16)


def config(shape: Shape) -> dict[str, Any]:
    """config.json. SGLang finds the layers of full attention by the interval, other readers by the list."""
    shared = moe.config(shape)
    return {
        **shared,
        "architectures": ["Qwen3NextForCausalLM"],
        "model_type": "qwen3_next",
        "partial_rotary_factor": shape.rotary,
        "rope_parameters": {**shared["rope_parameters"], "partial_rotary_factor": shape.rotary},
        "shared_expert_intermediate_size": shape.intermediate,
        "full_attention_interval": shape.interval,
        "layer_types": kinds(shape),
        "linear_num_key_heads": shape.key_heads,
        "linear_num_value_heads": shape.value_heads,
        "linear_key_head_dim": shape.key_dim,
        "linear_value_head_dim": shape.value_dim,
        "linear_conv_kernel_dim": shape.taps,
    }
