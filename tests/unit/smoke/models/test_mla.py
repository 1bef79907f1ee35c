from __future__ import annotations

from scripts.smoke.models.mla import Shape, config, tensors


def test_config_sizes_agree_with_the_tensors() -> None:
    settings = config(Shape())
    sizes = {tensor.name: tensor.size for tensor in tensors(Shape())}
    attention = f"model.layers.{settings['num_hidden_layers'] - 1}.self_attn"
    hidden, heads, latent = settings["hidden_size"], settings["num_attention_heads"], settings["kv_lora_rank"]
    content, rotary, value = (settings[key] for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    assert settings["q_lora_rank"] is None
    assert sizes[f"{attention}.q_proj.weight"] == (heads * (content + rotary), hidden)
    assert sizes[f"{attention}.kv_a_proj_with_mqa.weight"] == (latent + rotary, hidden)
    assert sizes[f"{attention}.kv_a_layernorm.weight"] == (latent,)
    assert sizes[f"{attention}.kv_b_proj.weight"] == (heads * (content + value), latent)
    assert sizes[f"{attention}.o_proj.weight"] == (hidden, heads * value)


def test_the_sizes_are_those_that_kernels_are_made_for() -> None:
    shape = Shape()
    assert (shape.latent, shape.content, shape.rotary, shape.value) == (512, 128, 64, 128)
    assert shape.heads % 16 == 0


def test_every_layer_is_dense() -> None:
    assert config(Shape())["first_k_dense_replace"] == Shape().layers
    assert not any("experts" in tensor.name for tensor in tensors(Shape()))
