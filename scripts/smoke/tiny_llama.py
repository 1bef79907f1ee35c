"""A small Llama made from a seed: the same bytes on every machine, so that its numbers can be compared anywhere.

Its weights are noise, which makes it a good witness: every tensor, head and position moves every log-probability, so an
engine that drops, transposes or mixes up anything cannot come out right. They are stored as BF16 and thereby exact in
float32 and float64 too: engines of different precisions start from identical values.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.files import write_atomic, write_json

SEED = 0

BOS, EOS = "<s>", "</s>"
BOS_ID, EOS_ID = 256, 257

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama. The vocabulary is the 256 bytes, each under its own value, and the two special tokens."""

    layers: int = 4
    hidden: int = 256
    intermediate: int = 688
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    vocabulary: int = 258
    positions: int = 2048
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5


@dataclass(frozen=True)
class Tensor:
    """A tensor's name and size, and the uniform distribution that its values are drawn from."""

    name: str
    size: tuple[int, ...]
    deviation: float
    mean: float = 0.0

    def values(self, seed: int) -> bytes:
        """The values as little-endian BF16. A draw is one byte: 256 levels are plenty, and mapping them is fast."""
        draws = hashlib.shake_256(f"{seed}/{self.name}".encode()).digest(math.prod(self.size))
        half_width = self.deviation * math.sqrt(3)
        levels = [bfloat16(self.mean + half_width * (2 * draw - 255) / 255) for draw in range(256)]
        data = bytearray(2 * len(draws))
        data[0::2] = draws.translate(bytes(level & 0xFF for level in levels))
        data[1::2] = draws.translate(bytes(level >> 8 for level in levels))
        return bytes(data)


def write_model(folder: Path, seed: int = SEED) -> str:
    """Write the model as `transformers` and vLLM load it; the SHA-256 of model.safetensors, in hexadecimal."""
    shape = Shape()
    weights = safetensors({tensor: tensor.values(seed) for tensor in tensors(shape)})
    write_atomic(folder / "model.safetensors", weights)
    write_json(folder / "config.json", config(shape))
    write_json(folder / "generation_config.json", {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "do_sample": False})
    write_json(folder / "tokenizer.json", tokenizer())
    write_json(folder / "tokenizer_config.json", tokenizer_config(shape))
    return hashlib.sha256(weights).hexdigest()


def tensors(shape: Shape) -> Iterator[Tensor]:
    """Every tensor of the model. Deviations keep each layer's output near unit size, as in a trained model."""
    hidden, intermediate = shape.hidden, shape.intermediate
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    unit = 1 / math.sqrt(hidden)
    yield Tensor("model.embed_tokens.weight", (shape.vocabulary, hidden), 1.0)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        yield Tensor(f"{prefix}.input_layernorm.weight", (hidden,), 0.2, mean=1.0)
        # Twice the unit makes attention choose: near-uniform weights would average the context away.
        yield Tensor(f"{prefix}.self_attn.q_proj.weight", (queries, hidden), 2 * unit)
        yield Tensor(f"{prefix}.self_attn.k_proj.weight", (keys, hidden), unit)
        yield Tensor(f"{prefix}.self_attn.v_proj.weight", (keys, hidden), unit)
        yield Tensor(f"{prefix}.self_attn.o_proj.weight", (hidden, queries), unit)
        yield Tensor(f"{prefix}.post_attention_layernorm.weight", (hidden,), 0.2, mean=1.0)
        yield Tensor(f"{prefix}.mlp.gate_proj.weight", (intermediate, hidden), unit)
        yield Tensor(f"{prefix}.mlp.up_proj.weight", (intermediate, hidden), unit)
        yield Tensor(f"{prefix}.mlp.down_proj.weight", (hidden, intermediate), 1 / math.sqrt(intermediate))
    yield Tensor("model.norm.weight", (hidden,), 0.2, mean=1.0)
    # Logits with a deviation of about 4: a few tokens stand out, none is certain.
    yield Tensor("lm_head.weight", (shape.vocabulary, hidden), 4 * unit)


def bfloat16(value: float) -> int:
    """The 16 bits of the BF16 number nearest to a finite value, ties to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return int(bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def safetensors(contents: dict[Tensor, bytes]) -> bytes:
    """A safetensors file of BF16 tensors: the header's length, its JSON padded to 8 bytes, the values in order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor, values in contents.items():
        start, end = end, end + len(values)
        header[tensor.name] = {"dtype": "BF16", "shape": list(tensor.size), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + b"".join(contents.values())


def config(shape: Shape) -> dict[str, Any]:
    """config.json. Two keys stand twice: `transformers` before 5 reads the older name, later releases the newer."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.positions,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rms_norm_eps": shape.norm_epsilon,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
    }


def byte_alphabet() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary: itself if printable, else one past U+00FF."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def tokenizer() -> dict[str, Any]:
    """tokenizer.json: byte-pair encoding without a single merge, so that a token is a byte, after a leading `<s>`."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    alphabet = {character: byte for byte, character in enumerate(byte_alphabet())}
    start = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "version": "1.0",
        "added_tokens": [{"id": BOS_ID, "content": BOS, **special}, {"id": EOS_ID, "content": EOS, **special}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, first],
            "pair": [start, first, second],
            "special_tokens": {BOS: {"id": BOS, "ids": [BOS_ID], "tokens": [BOS]}},
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {**alphabet, BOS: BOS_ID, EOS: EOS_ID},
            "merges": [],
        },
    }


def tokenizer_config(shape: Shape) -> dict[str, Any]:
    """tokenizer_config.json: tokenizer.json is used as it stands, and a chat is its messages line by line."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.positions,
        "bos_token": BOS,
        "eos_token": EOS,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
