from __future__ import annotations

from scripts.smoke.models.llama import Shape, config, tensors


def test_config_sizes_agree_with_the_tensors() -> None:
    settings = config(Shape())
    sizes = {tensor.name: tensor.size for tensor in tensors(Shape())}
    layer = f"model.layers.{settings['num_hidden_layers'] - 1}"
    hidden, intermediate = settings["hidden_size"], settings["intermediate_size"]
    keys = settings["num_key_value_heads"] * settings["head_dim"]
    assert sizes["lm_head.weight"] == sizes["model.embed_tokens.weight"] == (settings["vocab_size"], hidden)
    assert sizes[f"{layer}.mlp.up_proj.weight"] == sizes[f"{layer}.mlp.gate_proj.weight"] == (intermediate, hidden)
    assert sizes[f"{layer}.mlp.down_proj.weight"] == (hidden, intermediate)
    assert sizes[f"{layer}.self_attn.k_proj.weight"] == sizes[f"{layer}.self_attn.v_proj.weight"] == (keys, hidden)
    assert sizes[f"{layer}.self_attn.q_proj.weight"][0] == settings["num_attention_heads"] * settings["head_dim"]
    assert f"model.layers.{settings['num_hidden_layers']}.mlp.up_proj.weight" not in sizes


def test_queries_share_keys() -> None:
    settings = config(Shape())
    assert 1 < settings["num_key_value_heads"] < settings["num_attention_heads"]
