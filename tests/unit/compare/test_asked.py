"""What is asked of an engine, as the script inside is told it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from measure import make_checks

from scripts.compare.asked import HELD, find_gap, make_part, split_memory
from scripts.compare.engines import ENGINES
from scripts.compare.models import MODELS
from scripts.compare.parts import PARTS
from tests.unit.builders import RTX, make_cell

VLLM, SGLANG = ENGINES["vllm"], ENGINES["sglang"]
GPU, CPU = make_cell(RTX), make_cell()
COMMANDS = {
    "vllm": "vllm serve /hallmark/models/yi-1.5-6b --served-model-name hallmark --host 127.0.0.1 --port 8000 "
    "--load-format dummy --dtype bfloat16 --max-model-len 2048 --enable-prompt-tokens-details",
    "sglang": "serve-sglang --model-path /hallmark/models/yi-1.5-6b --served-model-name hallmark --host 127.0.0.1 "
    "--port 8000 --load-format dummy --dtype bfloat16 --context-length 2048 --enable-cache-report",
}


def spec_of(part: str, engine: Any = VLLM, cell: Any = GPU, limit: int = 32) -> dict[str, Any]:
    return dict(json.loads(make_part(cell, engine, part, limit).environment["HALLMARK_SPEC"]))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_engines_are_started_alike(name: str) -> None:
    [server] = spec_of("load", ENGINES[name])["servers"]
    assert " ".join(server["command"]) == COMMANDS[name]


@pytest.mark.parametrize("cell", [GPU, CPU], ids=["gpu", "cpu"])
@pytest.mark.parametrize("part", PARTS)
def test_every_check_that_a_part_asks_for_is_one_that_the_script_has(part: str, cell: Any) -> None:
    scenario = make_part(cell, VLLM, part, 32)
    assert set(scenario.checks) <= set(make_checks(spec_of(part, cell=cell)))
    assert scenario.timeout_s > 0 and scenario.memory_gib > 0


@pytest.mark.parametrize(
    ("engine", "option"), [(VLLM, "--no-enable-prefix-caching"), (SGLANG, "--disable-radix-cache")]
)
def test_the_prefix_cache_is_off_where_that_is_asked_and_nowhere_else(engine: Any, option: str) -> None:
    for part in PARTS:
        spec = spec_of(part, engine)
        off = part == "no-prefix-cache"
        assert spec["cached"] is not off
        assert all((option in server["command"]) is off for server in spec["servers"])


@pytest.mark.parametrize("part", PARTS)
def test_servers_are_held_to_the_limit_all_together(part: str) -> None:
    spec = spec_of(part, limit=24)
    assert spec["limit_gib"] == 24
    assert sum(server["share"]["budget_gib"] for server in spec["servers"]) == pytest.approx(HELD * 24, abs=0.01)


def test_each_model_has_room_for_its_weights_and_as_much_more_as_the_others() -> None:
    names = ("tinyllama-1.1b", "qwen2.5-1.5b", "yi-1.5-6b")
    shares = split_memory(names, 28.8)
    left = {round(shares[name] - MODELS[name].weights_gib, 6) for name in names}
    assert len(left) == 1 and 4 < left.pop() < 4.5


def test_three_models_have_ports_and_names_of_their_own() -> None:
    servers = spec_of("models", SGLANG)["servers"]
    assert [server["port"] for server in servers] == [8000, 8100, 8200]
    assert [server["model"] for server in servers] == ["tinyllama-1.1b", "qwen2.5-1.5b", "yi-1.5-6b"]


def test_without_a_gpu_a_small_model_is_asked_less_of_and_held_to_nothing() -> None:
    spec = spec_of("load", cell=CPU)
    [server] = spec["servers"]
    assert server["share"] is None and "--enforce-eager" in server["command"] and "float32" in server["command"]
    assert find_gap(CPU, "models", 32) and not find_gap(CPU, "load", 0)
    assert not any(find_gap(GPU, part, 32) for part in PARTS)


def test_models_whose_weights_do_not_fit_are_not_for_so_little_memory() -> None:
    """Of 18 GiB an engine may hold 16.2, as much as the three models' weights take together, and a little less."""
    assert find_gap(GPU, "models", 8) == (
        "16.2 GiB of weights do not fit 7.2 GiB, as much as may be held of 8: "
        "tinyllama-1.1b 2.0, qwen2.5-1.5b 2.9, yi-1.5-6b 11.3"
    )
    assert find_gap(GPU, "load", 8).endswith("yi-1.5-6b 11.3")
    assert find_gap(GPU, "models", 18) and not find_gap(GPU, "models", 19)
    assert find_gap(GPU, "load", 12) and not find_gap(GPU, "load", 13)


def test_prompts_and_answers_fit_the_models() -> None:
    for cell in (GPU, CPU):
        spec = spec_of("load", cell=cell)
        assert max(spec["prompt"] + spec["answer"], spec["prefix"] + 16 + 4) <= spec["length"]
        names = {server["model"] for part in PARTS for server in spec_of(part, cell=cell)["servers"]}
        assert all(MODELS[name].config["max_position_embeddings"] >= spec["length"] for name in names)
