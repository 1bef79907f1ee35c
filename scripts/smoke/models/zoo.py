"""The models by name, and their files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scripts.files import write_atomic, write_json
from scripts.smoke.models import hybrid, llama, mla, moe, nvfp4
from scripts.smoke.models.quantised import Scheme, quantise, quantization_config
from scripts.smoke.models.tensors import Tensor, safetensors
from scripts.smoke.models.tokenizer import BOS_ID, EOS_ID, tokenizer, tokenizer_config

SEED = 0
REFERENCES = Path(__file__).with_name("references")


@dataclass(frozen=True)
class Bound:
    """How far an engine's log-probabilities may be from the reference's, in nats: the farthest, and all on average."""

    largest: float
    mean: float


@dataclass(frozen=True)
class Model:
    """A model: its config.json, its tensors in the file's order, and what its reference has to show.

    The reference continues each prompt by `greedy_tokens` tokens, each of which leads the next by `margin` nats or
    more: beyond what rounding blurs, so that every right engine chooses the same. Where `long` is not 0, it also
    has the log-probabilities of a prompt of so many tokens. `bounds` are by the type that an engine computes in, and
    `tf32` for float32 on a GPU, where that matters: twice what rounding to it was seen to make, and a fraction of what
    any fault does.
    """

    name: str
    config: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    bounds: Mapping[str, Bound]
    margin: float
    greedy_tokens: int = 10
    long: int = 0
    scheme: Scheme | None = None


def _quantised(name: str, model: Model, scheme: Scheme, bounds: Mapping[str, Bound], margin: float) -> Model:
    as_stored, described = (
        (nvfp4.quantise, nvfp4.quantization_config) if scheme.nvfp4 else (quantise, quantization_config)
    )
    config = {**model.config, "quantization_config": described(scheme)}
    return Model(name, config, tuple(as_stored(model.tensors, scheme)), bounds, margin, 6, scheme=scheme)


# In float32 engines on the CPU stay within 2e-6; one weight with its sign flipped moves `llama` by 3e-4 to 0.04.
# GPUs multiply float32 in TF32 where Triton does it: emulated, that moves `llama` by 0.0011, 0.0003 on average.
_PLAIN = {"float32": Bound(1e-4, 2e-5), "tf32": Bound(3e-3, 6e-4), "bfloat16": Bound(0.05, 0.008)}
# Activations in FP8 differ by whole steps of it wherever rounding before them differed.
_FP8_CHANNELS = {"float32": Bound(0.05, 0.01), "bfloat16": Bound(0.15, 0.03)}
_FP8_BLOCKS = {"float32": Bound(0.05, 0.01), "bfloat16": Bound(0.08, 0.015)}
# In 4 bits steps are wider, but float32 hardly ever rounds to another one.
_NVFP4 = {"float32": Bound(0.05, 0.002), "bfloat16": Bound(0.065, 0.0145)}
_NVFP4_EXPERTS = {"float32": Bound(0.05, 0.002), "bfloat16": Bound(0.08, 0.009)}

_LLAMA = llama.Shape()
# Rounding activations to 4 significant bits is noise: with fewer and weaker layers, faults stand out of it.
_LLAMA_FP8 = llama.Shape(layers=2, addition=0.5)
_LLAMA_NVFP4 = llama.Shape(layers=1, addition=0.2)
_MOE = moe.Shape()
_MOE_NVFP4 = moe.Shape(layers=1, addition=0.2)
_MLA = mla.Shape()
_HYBRID = hybrid.Shape()

_FP8 = Model("", llama.config(_LLAMA_FP8), tuple(llama.tensors(_LLAMA_FP8)), {}, margin=0.0)
_FP4 = Model("", llama.config(_LLAMA_NVFP4), tuple(llama.tensors(_LLAMA_NVFP4)), {}, margin=0.0)
_ROUTED_FP4 = Model("", moe.config(_MOE_NVFP4), tuple(moe.tensors(_MOE_NVFP4)), {}, margin=0.0)
_LINEAR = Scheme(r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj", ignore=("lm_head",))
_ROUTED = Model("moe", moe.config(_MOE), tuple(moe.tensors(_MOE)), _PLAIN, margin=0.07, greedy_tokens=6)
_EXPERTS = Scheme(
    r"model\.layers\.\d+\.mlp\.experts\.\d+\.\w+_proj",
    ignore=("lm_head", r"re:.*self_attn.*", r"re:.*mlp\.gate$"),
)

_ALL = [
    Model("llama", llama.config(_LLAMA), tuple(llama.tensors(_LLAMA)), _PLAIN, margin=0.07, long=4096),
    _quantised("llama-fp8", _FP8, _LINEAR, _FP8_CHANNELS, margin=0.1),
    _quantised("llama-fp8-block", _FP8, replace(_LINEAR, blocks=True), _FP8_BLOCKS, margin=0.1),
    _quantised("llama-nvfp4", _FP4, replace(_LINEAR, nvfp4=True), _NVFP4, margin=0.1),
    _ROUTED,
    _quantised("moe-fp8", _ROUTED, _EXPERTS, _FP8_CHANNELS, margin=0.1),
    # Four tokens would have to be chosen by less of a margin.
    replace(
        _quantised("moe-nvfp4", _ROUTED_FP4, replace(_EXPERTS, nvfp4=True), _NVFP4_EXPERTS, margin=0.1),
        greedy_tokens=3,
    ),
    Model("mla", mla.config(_MLA), tuple(mla.tensors(_MLA)), _PLAIN, margin=0.07),
    Model(
        "hybrid",
        hybrid.config(_HYBRID),
        tuple(hybrid.tensors(_HYBRID)),
        _PLAIN,
        margin=0.07,
        greedy_tokens=6,
        long=4096,
    ),
]
MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _ALL})


def write_model(name: str, folder: Path, seed: int = SEED) -> str:
    """Write a model as `transformers` and vLLM load it; the SHA-256 of model.safetensors, in hexadecimal."""
    model = MODELS[name]
    weights = safetensors(model.tensors, seed)
    write_atomic(folder / "model.safetensors", weights)
    write_configuration(model.config, folder)
    return hashlib.sha256(weights).hexdigest()


def write_configuration(config: Mapping[str, Any], folder: Path) -> None:
    """Write all files of a model but its weights."""
    write_json(folder / "config.json", dict(config))
    write_json(folder / "generation_config.json", {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "do_sample": False})
    write_json(folder / "tokenizer.json", tokenizer(config["vocab_size"]))
    write_json(folder / "tokenizer_config.json", tokenizer_config(config["max_position_embeddings"]))


def find_reference(name: str) -> Path:
    """Where the numbers lie that a model gives when nothing is rounded."""
    return REFERENCES / f"{name}.json"
