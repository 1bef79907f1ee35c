from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from scripts.smoke.reference import REFERENCE
from scripts.smoke.tiny_llama import (
    BOS_ID,
    CHAT_TEMPLATE,
    SEED,
    Shape,
    Tensor,
    bfloat16,
    byte_alphabet,
    tensors,
    tokenizer,
    write_model,
)

FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return dict(json.loads(REFERENCE.read_bytes()))


def read_header(weights: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", weights[:8])
    return json.loads(weights[8 : 8 + length]), weights[8 + length :]


def test_two_writes_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in FILES)


def test_the_weights_are_those_of_the_reference(folder: Path, reference: dict[str, Any]) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == reference["weights_sha256"]
    assert reference["seed"] == SEED


def test_another_seed_gives_other_weights(tmp_path: Path, reference: dict[str, Any]) -> None:
    assert write_model(tmp_path, seed=SEED + 1) != reference["weights_sha256"]


def test_tensors_of_one_size_differ() -> None:
    first, second = (Tensor(name, (64,), 1.0).values(SEED) for name in ("a", "b"))
    assert first != second


def test_header_describes_every_tensor_without_gaps(folder: Path) -> None:
    header, values = read_header((folder / "model.safetensors").read_bytes())
    assert header.pop("__metadata__") == {"format": "pt"}
    assert list(header) == [tensor.name for tensor in tensors(Shape())]
    end = 0
    for entry in header.values():
        assert entry["dtype"] == "BF16"
        assert entry["data_offsets"] == [end, end + 2 * math.prod(entry["shape"])]
        end = entry["data_offsets"][1]
    assert end == len(values)


def test_values_lie_on_both_sides_of_the_mean_and_within_the_width() -> None:
    tensor = Tensor("any", (4096,), deviation=1.0, mean=3.0)
    bits = struct.unpack("<4096H", tensor.values(SEED))
    values = [struct.unpack("<f", struct.pack("<I", value << 16))[0] for value in bits]
    assert 3 - math.sqrt(3) - 0.01 <= min(values) < 1.3 and 4.7 < max(values) <= 3 + math.sqrt(3) + 0.01
    assert sum(values) / len(values) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("value", "bits"),
    [(0.0, 0), (1.0, 0x3F80), (-2.0, 0xC000), (1 + 2**-8, 0x3F80), (1 + 3 * 2**-8, 0x3F82), (1 + 2**-7, 0x3F81)],
)
def test_bfloat16_rounds_to_nearest_with_ties_to_even(value: float, bits: int) -> None:
    assert bfloat16(value) == bits


def test_byte_alphabet_is_the_one_that_byte_level_tokenizers_use() -> None:
    alphabet = byte_alphabet()
    assert len(set(alphabet)) == 256
    assert [alphabet[ord(byte)] for byte in " A\n"] == ["\u0120", "A", "\u010a"]
    assert alphabet[0] == "\u0100" and alphabet[0xAD] == "\u0143"


def test_each_byte_is_the_token_of_its_own_value() -> None:
    vocabulary = tokenizer()["model"]["vocab"]
    assert [vocabulary[character] for character in byte_alphabet()] == list(range(256))
    assert len(vocabulary) == Shape().vocabulary


def test_config_sizes_agree_with_the_tensors(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    sizes = {tensor.name: tensor.size for tensor in tensors(Shape())}
    assert sizes["lm_head.weight"] == (config["vocab_size"], config["hidden_size"])
    assert sizes["model.layers.3.mlp.up_proj.weight"] == (config["intermediate_size"], config["hidden_size"])
    assert sizes["model.layers.3.self_attn.k_proj.weight"][0] == config["num_key_value_heads"] * config["head_dim"]
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"


def test_reference_has_tokens_numbers_and_margins(reference: dict[str, Any]) -> None:
    prompts = reference["prompts"]
    assert len(prompts) == 3
    for prompt in prompts:
        assert prompt["token_ids"] == [BOS_ID, *prompt["text"].encode()]
    assert any(len(prompt["token_ids"]) > 200 for prompt in prompts)
    assert any(not prompt["text"].isascii() for prompt in prompts)
    for entry in [*prompts, reference["chat"]]:
        assert len(entry["prompt_logprobs"]) == len(entry["token_ids"]) - 1
        assert len(entry["greedy_logprobs"]) == len(entry["greedy_token_ids"]) == 16
        assert max(entry["greedy_token_ids"]) < BOS_ID
        assert all(value < 0 for value in entry["prompt_logprobs"] + entry["greedy_logprobs"])
    assert reference["min_margin_nats"] > 0.4


def test_reference_renders_the_chat_as_the_template_says(reference: dict[str, Any]) -> None:
    (message,) = reference["chat"]["messages"]
    rendered = f"{message['role']}: {message['content']}\nassistant: "
    assert reference["chat"]["token_ids"] == [BOS_ID, *rendered.encode()]
    assert CHAT_TEMPLATE.startswith("{{ bos_token }}")
