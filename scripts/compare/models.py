"""The models that engines are compared with: the shapes of public ones, without their weights.

Sizes are those of `config.json` in each model's repository on Hugging Face, which `source` names. Both engines fill the
weights with random numbers (`--load-format dummy`): memory and time are those of the model, its text is not. The
tokenizer is the zoo's, so its `<s>` and `</s>` stand for the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from scripts.smoke.models import llama
from scripts.smoke.models.llama import Shape, shared_config


@dataclass(frozen=True)
class Model:
    """A model without weights: its config.json, where its sizes are from, and how many parameters it has."""

    name: str
    source: str
    config: Mapping[str, Any]
    parameters: int

    @property
    def weights_gib(self) -> float:
        """What its weights take in bfloat16."""
        return 2 * self.parameters / (1 << 30)


def _qwen2(shape: Shape) -> dict[str, Any]:
    return {
        **shared_config(shape),
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "intermediate_size": shape.intermediate,
        "num_key_value_heads": shape.kv_heads,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    }


def count_parameters(shape: Shape, *, tied: bool = False, biased: bool = False) -> int:
    """How many a Llama has; `tied`: one matrix embeds and predicts; `biased`: queries, keys and values have biases."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = shape.hidden * (2 * queries + 2 * keys) + (queries + 2 * keys if biased else 0)
    layer = attention + 3 * shape.hidden * shape.intermediate + 2 * shape.hidden
    return shape.layers * layer + (1 if tied else 2) * shape.vocabulary * shape.hidden + shape.hidden


_TINYLLAMA = Shape(22, 2048, 5632, 32, 4, 64, 32000, 2048, 10000.0, 1e-5)
_QWEN = Shape(28, 1536, 8960, 12, 2, 128, 151936, 32768, 1000000.0, 1e-6)
_YI = Shape(32, 4096, 11008, 32, 4, 128, 64000, 4096, 5000000.0, 1e-6)
_TINY = Shape(4, 256, 768, 4, 2, 64, 4096, 2048)

_ALL = [
    Model(
        "tinyllama-1.1b",
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        llama.config(_TINYLLAMA),
        count_parameters(_TINYLLAMA),
    ),
    Model("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B-Instruct", _qwen2(_QWEN), count_parameters(_QWEN, tied=True, biased=True)),
    Model("yi-1.5-6b", "01-ai/Yi-1.5-6B", llama.config(_YI), count_parameters(_YI)),
    # For machines without a GPU, where what is shown is that the comparison works.
    Model("tiny", "a small Llama of no one's", llama.config(_TINY), count_parameters(_TINY)),
]
MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _ALL})
