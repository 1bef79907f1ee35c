"""Multi-head latent attention: a DeepSeek-V2 whose keys and values are made from one latent vector for each token.

The sizes within attention are those of DeepSeek-V2-Lite, for which engines have kernels. All layers are dense: the
mixture of experts has a model of its own.

Differences from the float64 reference in nats, over all log-probabilities of prompts and answers (CPU, PyTorch 2.13,
transformers 5.24); faults are in one layer, where they can be:

                                             largest  mean
    bfloat16, eager or sdpa                  0.019    0.004
    scores scaled for 128 and not 192        0.088    0.022
    one head of 16 left out                  0.16     0.040
    weight of the latent's norm left out     0.18     0.045
    keys and values swapped in one head      0.27     0.058
    outputs of two heads swapped             0.31     0.070
    rope_theta 500000 for 10000              0.36     0.088
    rotary key left out                      0.44     0.090
    rotary part by halves and not by pairs   0.66     0.15
    one layer left out                       0.71     0.19
    q_proj with its sign flipped             0.96     0.20
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.smoke.models.llama import mlp_tensors, norms, shared_config, unit
from scripts.smoke.models.tensors import BF16, Tensor, Uniform
from scripts.smoke.models.tokenizer import VOCABULARY


@dataclass(frozen=True)
class Shape:
    """The sizes of a DeepSeek-V2, and how large it makes things relative to what an untrained layer would."""

    layers: int = 2
    hidden: int = 256
    intermediate: int = 512
    heads: int = 16  # the fewest that some kernels take
    latent: int = 512
    content: int = 128  # of a head's queries and keys, without the rotary part
    rotary: int = 64
    value: int = 128
    vocabulary: int = VOCABULARY
    positions: int = 2048
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-6  # transformers uses this for the latent whatever the config says
    sharpness: float = 2.0  # standard deviation of attention scores
    addition: float = 0.75  # what attention and MLP add to the residual stream
    logits: float = 0.5  # standard deviation of logits


def tensors(shape: Shape) -> Iterator[Tensor]:
    """Every tensor of the model, in BF16."""
    hidden = shape.hidden
    yield Tensor("model.embed_tokens.weight", (shape.vocabulary, hidden), Uniform(1.0), BF16)
    yield from norms(hidden, "model.norm")
    yield Tensor("lm_head.weight", (shape.vocabulary, hidden), unit(hidden, shape.logits), BF16)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        yield from norms(hidden, f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm")
        yield from attention_tensors(shape, f"{prefix}.self_attn")
        yield from mlp_tensors(hidden, shape.intermediate, shape.addition, f"{prefix}.mlp")


def attention_tensors(shape: Shape, prefix: str) -> Iterator[Tensor]:
    """Queries from the hidden state; keys and values from the latent, but for one rotary key that heads share."""
    hidden, heads, latent = shape.hidden, shape.heads, shape.latent
    queries, expanded = heads * (shape.content + shape.rotary), heads * (shape.content + shape.value)
    yield Tensor(f"{prefix}.q_proj.weight", (queries, hidden), unit(hidden, shape.sharpness), BF16)
    yield Tensor(f"{prefix}.kv_a_proj_with_mqa.weight", (latent + shape.rotary, hidden), unit(hidden), BF16)
    yield from norms(latent, f"{prefix}.kv_a_layernorm")
    yield Tensor(f"{prefix}.kv_b_proj.weight", (expanded, latent), unit(latent), BF16)
    yield Tensor(
        f"{prefix}.o_proj.weight", (hidden, heads * shape.value), unit(heads * shape.value, shape.addition), BF16
    )


def config(shape: Shape) -> dict[str, Any]:
    """config.json."""
    return {
        **shared_config(shape),
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "intermediate_size": shape.intermediate,
        "num_key_value_heads": shape.heads,
        "q_lora_rank": None,
        "kv_lora_rank": shape.latent,
        "qk_nope_head_dim": shape.content,
        "qk_rope_head_dim": shape.rotary,
        "v_head_dim": shape.value,
        # No layer has experts: the first that could is beyond the last. The sizes are there because readers want them.
        "first_k_dense_replace": shape.layers,
        "moe_layer_freq": 1,
        "n_routed_experts": 2,
        "n_shared_experts": 1,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 128,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "greedy",
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
        "scoring_func": "softmax",
        "rope_scaling": None,
    }
