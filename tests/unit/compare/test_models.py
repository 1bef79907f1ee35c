"""The shapes of public models, checked by the numbers of parameters that upstream gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.compare.models import MODELS
from scripts.smoke.models.tokenizer import BOS_ID, EOS_ID, byte_alphabet
from scripts.smoke.models.zoo import write_configuration


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("tinyllama-1.1b", 1_100_048_384), ("qwen2.5-1.5b", 1_543_714_304), ("yi-1.5-6b", 6_061_035_520)],
)
def test_a_model_has_as_many_parameters_as_upstream_says(name: str, parameters: int) -> None:
    assert MODELS[name].parameters == parameters


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_has_every_file_but_its_weights(name: str, tmp_path: Path) -> None:
    write_configuration(MODELS[name].config, tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert config["hidden_size"] % config["num_attention_heads"] == 0
    assert (config["bos_token_id"], config["eos_token_id"]) == (BOS_ID, EOS_ID)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_bytes())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(config["vocab_size"]))
    bytes_of = {character: byte for byte, character in enumerate(byte_alphabet())}
    texts = {token: bytes(map(bytes_of.__getitem__, word)).decode() for word, token in vocabulary.items()}
    assert all(texts.values()), "whatever is generated is a text by itself"
