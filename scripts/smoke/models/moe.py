"""The mixture of experts: a Qwen3-MoE, whose MLPs are eight experts of which a router picks two for each token.

Where two experts are nearly tied, a rounding decides between them, and right engines differ. Hence the router reads
almost only the first dimensions of the residual stream, one for each expert, in which the embedding of a token has two
large values: its experts lead the others by far, and how they share the token still depends on what came before. Over
the reference, the second expert leads the third by 0.62 or more in the router's logits, and bfloat16 moves those by up
to 0.033 (in moe-fp8: 0.28 and 0.094).

Differences from the float64 reference in nats, over all log-probabilities of prompts and answers (CPU, PyTorch 2.13,
transformers 5.24); faults are in one layer, but for those of the routing weights:

                                        moe               moe-fp8
                                        largest  mean     largest  mean
    bfloat16 (and FP8, emulated)        0.016    0.004    0.064    0.017
    routing weights not renormalised    0.15     0.042    0.25     0.061
    one expert doubled                  0.22     0.025    0.41     0.040
    one expert left out                 0.35     0.039    1.06     0.054
    all experts doubled                 0.40     0.12     0.48     0.15
    routing weights all equal           0.41     0.089    0.47     0.11
    gate and up swapped in one expert   0.44     0.030    0.53     0.042
    two experts swapped                 0.59     0.11     0.93     0.16
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from scripts.smoke.models import llama
from scripts.smoke.models.tensors import BF16, Tensor, Uniform, draws


@dataclass(frozen=True)
class Shape(llama.Shape):
    """The sizes of a Qwen3-MoE."""

    layers: int = 3
    intermediate: int = 128  # of each expert
    norm_epsilon: float = 1e-6
    experts: int = 8
    chosen: int = 2
    route: float = 11.0  # what the embedding has in the dimensions of a token's experts, where others have about 1


@dataclass(frozen=True)
class Columns(Tensor):
    """A BF16 matrix whose first columns are overwritten: each row gets one of the prefixes, by its number or a draw."""

    prefixes: tuple[tuple[float, ...], ...] = ()
    drawn: bool = False

    def values(self, seed: int) -> bytes:
        rows, columns = self.size
        data = bytearray(super().values(seed))
        picks = draws(seed, f"{self.name}/prefix", rows) if self.drawn else bytes(range(rows))
        for row, pick in enumerate(picks):
            prefix = b"".join(map(BF16.encode, self.prefixes[pick % len(self.prefixes)]))
            start = row * columns * BF16.width
            data[start : start + len(prefix)] = prefix
        return bytes(data)


def tensors(shape: Shape) -> Iterator[Tensor]:
    """Every tensor of the model, in BF16."""
    yield from ends(shape)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        yield from llama.norms(shape.hidden, f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm")
        yield from llama.attention_tensors(shape, f"{prefix}.self_attn")
        # Queries and keys are normed, each head's by itself: their sharpness is that of the norm's weights.
        yield Tensor(f"{prefix}.self_attn.q_norm.weight", (shape.head_dim,), Uniform(0.2, shape.sharpness), BF16)
        yield Tensor(f"{prefix}.self_attn.k_norm.weight", (shape.head_dim,), Uniform(0.2, 1.0), BF16)
        yield from expert_tensors(shape, f"{prefix}.mlp")


def ends(shape: Shape) -> Iterator[Tensor]:
    """What stands before and after the layers; the embedding says which experts a token has."""
    for tensor in llama.ends(shape):
        yield _routed(tensor, shape) if tensor.name == "model.embed_tokens.weight" else tensor


def expert_tensors(shape: Shape, prefix: str) -> Iterator[Tensor]:
    """A router, and the experts that it picks from."""
    yield _router(f"{prefix}.gate.weight", shape)
    for expert in range(shape.experts):
        name = f"{prefix}.experts.{expert}"
        yield from llama.mlp_tensors(shape.hidden, shape.intermediate, 2 * shape.addition, name)


def _routed(embedding: Tensor, shape: Shape) -> Tensor:
    prefixes = [
        tuple(shape.route if expert in pair else 0.0 for expert in range(shape.experts))
        for pair in combinations(range(shape.experts), shape.chosen)
    ]
    kept = (embedding.name, embedding.size, embedding.distribution, embedding.format)
    return Columns(*kept, prefixes=tuple(prefixes), drawn=True)


def _router(name: str, shape: Shape) -> Tensor:
    rows = [tuple(0.375 * (column == expert) for column in range(shape.experts)) for expert in range(shape.experts)]
    return Columns(name, (shape.experts, shape.hidden), Uniform(0.01), BF16, prefixes=tuple(rows))


def config(shape: Shape) -> dict[str, Any]:
    """config.json."""
    return {
        **llama.shared_config(shape),
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "intermediate_size": shape.intermediate * shape.experts,
        "moe_intermediate_size": shape.intermediate,
        "num_experts": shape.experts,
        "num_experts_per_tok": shape.chosen,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "use_sliding_window": False,
        "sliding_window": None,
    }
