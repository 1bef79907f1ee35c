"""The dense model: a Llama whose queries share keys and values in groups of two.

Differences from the float64 reference in nats, over all log-probabilities of prompts and answers (CPU, PyTorch 2.13,
transformers 5.24):

                                             largest  mean
    float32                                  0.000002
    float16                                  0.0020   0.0005
    bfloat16, eager or sdpa                  0.022    0.004
    one o_proj 10 % too large                0.058    0.013
    weight of the last norm left out         0.30     0.083
    one head of one layer left out           0.40     0.080
    half of one down_proj zero               0.45     0.12
    queries of every layer one position on   0.56     0.087
    one layer left out                       0.73     0.18
    one q_proj with its sign flipped         0.78     0.17
    rope_theta 500000 for 10000              0.88     0.20
    keys and values of two heads swapped     1.03     0.22
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.smoke.models.tensors import BF16, Tensor, Uniform
from scripts.smoke.models.tokenizer import BOS_ID, EOS_ID, VOCABULARY


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama, and how large it makes things relative to what an untrained layer would."""

    layers: int = 4
    hidden: int = 256
    intermediate: int = 768
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    vocabulary: int = VOCABULARY
    positions: int = 8192
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5
    sharpness: float = 2.0  # standard deviation of attention scores; much below this, attention averages all away
    addition: float = (
        0.75  # what attention and MLP add to the residual stream: more amplifies rounding, less hides context
    )
    logits: float = 0.5  # standard deviation of logits; bfloat16 has 2^-8 of each, so small ones differ by less


def tensors(shape: Shape) -> Iterator[Tensor]:
    """Every tensor of the model, in BF16."""
    yield from ends(shape)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        yield from attention_tensors(shape, f"{prefix}.self_attn")
        yield from mlp_tensors(shape.hidden, shape.intermediate, shape.addition, f"{prefix}.mlp")
        yield from norms(shape.hidden, f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm")


def ends(shape: Shape) -> Iterator[Tensor]:
    """What stands before and after the layers."""
    yield Tensor("model.embed_tokens.weight", (shape.vocabulary, shape.hidden), Uniform(1.0), BF16)
    yield from norms(shape.hidden, "model.norm")
    yield Tensor("lm_head.weight", (shape.vocabulary, shape.hidden), unit(shape.hidden, shape.logits), BF16)


def attention_tensors(shape: Shape, prefix: str) -> Iterator[Tensor]:
    """The four projections of grouped-query attention."""
    hidden, queries, keys = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield Tensor(f"{prefix}.q_proj.weight", (queries, hidden), unit(hidden, shape.sharpness), BF16)
    yield Tensor(f"{prefix}.k_proj.weight", (keys, hidden), unit(hidden), BF16)
    yield Tensor(f"{prefix}.v_proj.weight", (keys, hidden), unit(hidden), BF16)
    yield Tensor(f"{prefix}.o_proj.weight", (hidden, queries), unit(queries, shape.addition), BF16)


def mlp_tensors(hidden: int, intermediate: int, addition: float, prefix: str) -> Iterator[Tensor]:
    """The three projections of a gated MLP."""
    yield Tensor(f"{prefix}.gate_proj.weight", (intermediate, hidden), unit(hidden), BF16)
    yield Tensor(f"{prefix}.up_proj.weight", (intermediate, hidden), unit(hidden), BF16)
    yield Tensor(f"{prefix}.down_proj.weight", (hidden, intermediate), unit(intermediate, addition), BF16)


def norms(size: int, *names: str) -> Iterator[Tensor]:
    """Weights of RMS norms, which vary so that a norm that is left out shows."""
    for name in names:
        yield Tensor(f"{name}.weight", (size,), Uniform(0.2, mean=1.0), BF16)


def unit(inputs: int, gain: float = 1.0) -> Uniform:
    """Weights whose outputs have the standard deviation `gain` where the inputs have 1."""
    return Uniform(gain / math.sqrt(inputs))


def shared_config(shape: Any) -> dict[str, Any]:
    """What config.json says of the shape of any of these models.

    Two keys stand twice: `transformers` before 5 reads the older name, later releases the newer.
    """
    return {
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.positions,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rms_norm_eps": shape.norm_epsilon,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
    }


def config(shape: Shape) -> dict[str, Any]:
    """config.json."""
    return {
        **shared_config(shape),
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "intermediate_size": shape.intermediate,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "mlp_bias": False,
    }
