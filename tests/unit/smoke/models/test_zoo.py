from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from scripts.smoke.models.tokenizer import BOS_ID, VOCABULARY
from scripts.smoke.models.zoo import MODELS, REFERENCES, SEED, write_model

FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
WIDTHS = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1}
# What bfloat16 and FP8 blur a lead by, at worst; each model's own margin is above it.
LEAST_MARGIN = 0.05
LARGEST_REFERENCE = 110_000
LARGEST_MODEL = 16 << 20
NAMES = sorted(MODELS)


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(name)
    write_model(name, folder)
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_bytes()))


@pytest.fixture(scope="module")
def reference(name: str) -> dict[str, Any]:
    return read_reference(name)


def read_reference(name: str) -> dict[str, Any]:
    return dict(json.loads((REFERENCES / f"{name}.json").read_bytes()))


def sizes_of(name: str) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.size for tensor in MODELS[name].tensors}


def test_every_reference_has_a_model() -> None:
    assert sorted(path.stem for path in REFERENCES.iterdir()) == NAMES


def test_the_weights_are_those_of_the_reference(folder: Path, reference: dict[str, Any]) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == reference["weights_sha256"]
    assert reference["seed"] == SEED
    assert len(weights) < LARGEST_MODEL


def test_two_writes_give_the_same_bytes(name: str, folder: Path, tmp_path: Path) -> None:
    write_model(name, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert all((tmp_path / file).read_bytes() == (folder / file).read_bytes() for file in FILES)


def test_another_seed_gives_other_weights(name: str, tmp_path: Path, reference: dict[str, Any]) -> None:
    assert write_model(name, tmp_path, seed=SEED + 1) != reference["weights_sha256"]


def test_the_header_describes_every_tensor_without_gaps(name: str, folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    assert {key: tuple(entry["shape"]) for key, entry in header.items()} == sizes_of(name)
    assert len(header) == len(MODELS[name].tensors), "two tensors have one name"
    end = 0
    for entry in header.values():
        start, end = end, end + math.prod(entry["shape"]) * WIDTHS[entry["dtype"]]
        assert entry["data_offsets"] == [start, end]
    assert end == len(weights) - 8 - length


def test_an_engine_finds_what_it_reads_in_the_config(config: dict[str, Any]) -> None:
    common = {"architectures", "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps"}
    common |= {"max_position_embeddings", "rope_theta", "hidden_act", "bos_token_id", "eos_token_id", "vocab_size"}
    assert common <= set(config)
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"
    rotary = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    partial = {key: config[key] for key in ["partial_rotary_factor"] if key in config}
    assert config["rope_parameters"] == rotary | partial
    assert config["vocab_size"] == VOCABULARY and config["tie_word_embeddings"] is False


def test_the_reference_answers_prompts_and_a_chat(name: str, reference: dict[str, Any]) -> None:
    prompts = reference["prompts"]
    assert len(prompts) == 3
    for prompt in prompts:
        assert prompt["token_ids"] == [BOS_ID, *prompt["text"].encode()]
    assert any(len(prompt["token_ids"]) > 200 for prompt in prompts)
    assert any(not prompt["text"].isascii() for prompt in prompts)
    (message,) = reference["chat"]["messages"]
    rendered = f"{message['role']}: {message['content']}\nassistant: "
    assert reference["chat"]["token_ids"] == [BOS_ID, *rendered.encode()]
    assert (REFERENCES / f"{name}.json").stat().st_size < LARGEST_REFERENCE


def test_every_number_of_the_reference_is_a_log_probability(name: str, reference: dict[str, Any]) -> None:
    for entry in [*reference["prompts"], reference["chat"]]:
        assert len(entry["prompt_logprobs"]) == len(entry["token_ids"]) - 1
        assert len(entry["greedy_logprobs"]) == len(entry["greedy_token_ids"]) == MODELS[name].greedy_tokens
        assert all(-50 < value < 0 for value in entry["prompt_logprobs"] + entry["greedy_logprobs"])


@pytest.mark.parametrize("long_name", [name for name, model in MODELS.items() if model.long])
def test_a_long_prompt_is_as_long_as_the_model_says(long_name: str) -> None:
    long, model = read_reference(long_name)["long"], MODELS[long_name]
    assert len(long["token_ids"]) == len(long["prompt_logprobs"]) + 1 == model.long
    assert model.config["max_position_embeddings"] > model.long
    assert all(-30 < value < 0 for value in long["prompt_logprobs"])


def test_the_likeliest_tokens_agree_with_the_prompts_own(reference: dict[str, Any]) -> None:
    for entry in [*reference["prompts"], reference["chat"]]:
        top = entry["top"]
        following = zip(entry["token_ids"][1:], entry["prompt_logprobs"], strict=True)
        for tokens, logprobs, (token, logprob) in zip(top["token_ids"], top["logprobs"], following, strict=True):
            assert len(set(tokens)) == len(logprobs) == 5
            assert logprobs == sorted(logprobs, reverse=True)
            if token in tokens:
                assert logprobs[tokens.index(token)] == pytest.approx(logprob, abs=1e-6)
            else:
                assert logprob < logprobs[-1] + 1e-6


def test_greedy_tokens_are_ordinary_and_uncontested(name: str, reference: dict[str, Any]) -> None:
    for entry in [*reference["prompts"], reference["chat"]]:
        assert max(entry["greedy_token_ids"]) < BOS_ID
    assert reference["min_margin_nats"] >= MODELS[name].margin >= LEAST_MARGIN
