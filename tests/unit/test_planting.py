"""What the proofs on a GPU plant is really there: one weight, one scale, one architecture, and nothing else."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.gpucode.fatbin import parse_gpu_code
from scripts.smoke.models.zoo import write_model
from tests.gpu.planting import double_scale, edit, flip_sign, readdress
from tests.unit.gpucode import FIXTURES


def tensors(folder: Path) -> dict[str, bytes]:
    data = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {name: data[8 + size :][slice(*entry["data_offsets"])] for name, entry in header.items()}


@pytest.mark.parametrize(
    ("model", "plant", "name", "form", "factor"),
    [
        ("llama", flip_sign, "model.norm.weight", "<xxH", None),
        ("llama-fp8-block", double_scale, "model.layers.0.self_attn.o_proj.weight_scale", "<f", 2.0),
    ],
)
def test_one_number_of_one_tensor_is_another(
    model: str, plant: Callable[[Path], None], name: str, form: str, factor: float | None, tmp_path: Path
) -> None:
    write_model(model, tmp_path)
    before = tensors(tmp_path)
    plant(tmp_path)
    after = tensors(tmp_path)
    assert [each for each in before if before[each] != after[each]] == [name]
    if factor:
        old, new = (struct.unpack(form, each[name][:4])[0] for each in (before, after))
        assert new == factor * old and before[name][4:] == after[name][4:]
    else:
        assert before[name][0] == after[name][0] and before[name][2:] == after[name][2:]
        assert before[name][1] ^ after[name][1] == 0x80


def test_a_tensor_that_is_not_there_is_no_quiet_pass(tmp_path: Path) -> None:
    write_model("llama", tmp_path)
    with pytest.raises(KeyError):
        edit(tmp_path, "no.such", lambda data: data)


@pytest.mark.parametrize("name", ["plain.so", "specific.so", "zstd.so", "several.so"])
def test_all_code_of_a_library_is_for_another_gpu_and_stays_as_it_is(name: str) -> None:
    before = (FIXTURES / name).read_bytes()
    data = bytearray(before)
    readdress(data, 120)
    entries = [entry for each in parse_gpu_code(data, name) or () for entry in each.entries]
    assert {entry.arch.rstrip("af") for entry in entries} == {"120"}
    changed = sum(old != new for old, new in zip(before, data, strict=True))
    assert 0 < changed <= 4 * len(entries)


def test_a_library_without_gpu_code_cannot_be_for_another_gpu() -> None:
    with pytest.raises(ValueError, match="not for 120 alone"):
        readdress(bytearray((FIXTURES / "host.so").read_bytes()), 120)
