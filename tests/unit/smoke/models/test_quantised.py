from __future__ import annotations

import re
import struct

import pytest

from scripts.smoke.models.quantised import BLOCK, Scheme, quantise, quantization_config
from scripts.smoke.models.tensors import BF16, F8_E4M3, F32, U8, Tensor, Uniform, decode_float8
from scripts.smoke.models.zoo import MODELS

LAYER = Tensor("layer.weight", (512, 256), Uniform(1 / 16), BF16)
OTHER = Tensor("norm.weight", (256,), Uniform(0.2, mean=1.0), BF16)


def scales_of(tensor: Tensor) -> list[float]:
    return list(struct.unpack(f"<{tensor.length // 4}f", tensor.values(0)))


@pytest.mark.parametrize("blocks", [False, True])
def test_only_covered_layers_are_quantised(blocks: bool) -> None:
    made = list(quantise([OTHER, LAYER], Scheme("layer", ignore=(), blocks=blocks)))
    assert [(tensor.name, tensor.format) for tensor in made] == [
        ("norm.weight", BF16),
        ("layer.weight", F8_E4M3),
        ("layer.weight_scale", F32),
    ]
    assert made[0] == OTHER and made[1].size == LAYER.size


@pytest.mark.parametrize(("blocks", "size"), [(False, (512, 1)), (True, (512 // BLOCK, 256 // BLOCK))])
def test_weights_times_scales_are_about_as_large_as_before(blocks: bool, size: tuple[int, ...]) -> None:
    weight, scale = quantise([LAYER], Scheme("layer", ignore=(), blocks=blocks))
    assert scale.size == size
    values = [decode_float8(code) for code in weight.values(0)]
    assert max(values) == 448 and min(values) == -448
    mean_square = sum(value * value for value in values) / len(values)
    mean_scale = sum(scales_of(scale)) / len(scales_of(scale))
    assert 0.5 < mean_square**0.5 * mean_scale * 16 < 2


def test_scales_of_channels_differ_and_are_exact_in_bfloat16() -> None:
    _, scale = quantise([LAYER], Scheme("layer", ignore=()))
    values = scales_of(scale)
    assert len(set(values)) > 8
    for value in values:
        assert struct.pack("<f", value)[:2] == b"\0\0"


def test_scales_of_blocks_differ_and_are_powers_of_two() -> None:
    _, scale = quantise([LAYER], Scheme("layer", ignore=(), blocks=True))
    values = scales_of(scale)
    assert len(set(values)) > 1
    for value in values:
        assert value > 0 and int.from_bytes(struct.pack("<f", value), "little") & 0x7FFFFF == 0


def test_the_config_says_how_scales_are_laid_out() -> None:
    by_channel = quantization_config(Scheme("layer", ignore=("lm_head",)))
    assert by_channel["quant_method"] == "compressed-tensors" and by_channel["format"] == "float-quantized"
    assert by_channel["ignore"] == ["lm_head"]
    group = by_channel["config_groups"]["group_0"]
    assert group["targets"] == ["Linear"]
    assert (group["weights"]["strategy"], group["weights"]["dynamic"]) == ("channel", False)
    assert (group["input_activations"]["strategy"], group["input_activations"]["dynamic"]) == ("token", True)
    group = quantization_config(Scheme("layer", ignore=(), blocks=True))["config_groups"]["group_0"]
    assert (group["weights"]["strategy"], group["weights"]["block_structure"]) == ("block", [128, 128])
    assert (group["input_activations"]["strategy"], group["input_activations"]["group_size"]) == ("group", 128)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.scheme])
def test_the_config_ignores_exactly_the_layers_that_are_not_quantised(name: str) -> None:
    model = MODELS[name]
    ignored = model.config["quantization_config"]["ignore"]
    for tensor in model.tensors:
        if len(tensor.size) < 2 or "embed_tokens" in tensor.name or tensor.name.endswith("_scale"):
            continue
        layer = tensor.name.removesuffix("_packed").removesuffix(".weight")
        is_ignored = any(
            re.match(entry.removeprefix("re:"), layer) if entry.startswith("re:") else entry == layer
            for entry in ignored
        )
        assert is_ignored == (tensor.format not in (F8_E4M3, U8)), layer
