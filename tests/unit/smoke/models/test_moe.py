from __future__ import annotations

import struct

from scripts.smoke.models.moe import Columns, Shape, config, tensors
from scripts.smoke.models.tensors import Tensor

SHAPE = Shape()
TENSORS = {tensor.name: tensor for tensor in tensors(SHAPE)}


def rows_of(name: str) -> list[list[float]]:
    tensor = TENSORS[name]
    rows, columns = tensor.size
    bits = struct.unpack(f"<{rows * columns}H", tensor.values(0))
    values = [struct.unpack("<f", struct.pack("<I", value << 16))[0] for value in bits]
    return [values[row * columns : (row + 1) * columns] for row in range(rows)]


def test_config_sizes_agree_with_the_tensors() -> None:
    settings = config(SHAPE)
    sizes = {name: tensor.size for name, tensor in TENSORS.items()}
    mlp = f"model.layers.{settings['num_hidden_layers'] - 1}.mlp"
    hidden, intermediate = settings["hidden_size"], settings["moe_intermediate_size"]
    assert sizes[f"{mlp}.gate.weight"] == (settings["num_experts"], hidden)
    assert sizes[f"{mlp}.experts.{settings['num_experts'] - 1}.down_proj.weight"] == (hidden, intermediate)
    assert f"{mlp}.experts.{settings['num_experts']}.down_proj.weight" not in sizes
    assert sizes["model.layers.0.self_attn.q_norm.weight"] == (settings["head_dim"],)


def test_each_token_has_two_experts_and_all_experts_have_tokens() -> None:
    embedding = rows_of("model.embed_tokens.weight")
    for row in embedding:
        assert sorted(row[: SHAPE.experts]) == [0.0] * (SHAPE.experts - 2) + [SHAPE.route] * 2
        assert all(row[SHAPE.experts :])
    assert all(any(row[expert] for row in embedding) for expert in range(SHAPE.experts))


def test_a_router_reads_each_experts_own_dimension() -> None:
    for expert, row in enumerate(rows_of("model.layers.0.mlp.gate.weight")):
        assert row.index(max(row)) == expert
        assert max(map(abs, row[SHAPE.experts :])) < 0.1 * row[expert]


def test_columns_leave_the_rest_of_a_row_alone() -> None:
    tensor = TENSORS["model.embed_tokens.weight"]
    assert isinstance(tensor, Columns)
    plain = Tensor(tensor.name, tensor.size, tensor.distribution, tensor.format).values(0)
    made, width = tensor.values(0), 2 * tensor.size[1]
    for start in range(0, len(made), width):
        rest = slice(start + 2 * SHAPE.experts, start + width)
        assert made[rest] == plain[rest]
