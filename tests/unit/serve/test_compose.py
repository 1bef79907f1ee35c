"""The compose files beside the images say what this project makes, and what `serve` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from scripts.compare.engines import ENGINES, ServingEngine
from scripts.matrix import load_matrix
from scripts.plan import make_plan
from scripts.publish.stamp import NAMESPACE, name_tags
from scripts.serve.container import HOME, MODELS, Wanted, make_environment, name_volumes
from scripts.serve.subject import Subject
from tests.unit.builders import REPOSITORY_ROOT
from tests.unit.serve.made import DIGEST, HUB

FILES = sorted(REPOSITORY_ROOT.glob("images/*/compose*.yaml"))
PLAN = make_plan(load_matrix(REPOSITORY_ROOT))
CELLS = {
    f"{NAMESPACE}/{tags.image}:{tags.versioned}": each.cell for each in PLAN for tags in [name_tags(each, "0" * 64)]
}
CARD_GIB = 31.8  # what a card of 32 GB has
SERVICES = [(file, name) for file in FILES for name in YAML(typ="safe").load(file)["services"]]
BY_SERVICE = pytest.mark.parametrize(("file", "name"), SERVICES, ids=[f"{file.name}-{name}" for file, name in SERVICES])


def read(file: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(file))


def options_of(service: dict[str, Any]) -> dict[str, str]:
    """The options of a command, all of which are written as `--name=value`."""
    return dict(word.split("=", 1) for word in service["command"] if word.startswith("--"))


def find(file: Path, name: str) -> tuple[dict[str, Any], ServingEngine]:
    return read(file)["services"][name], ENGINES[file.parent.name]


def test_there_is_one_for_each_engine_and_one_for_three_models() -> None:
    names = [str(file.relative_to(REPOSITORY_ROOT / "images")) for file in FILES]
    assert names == ["sglang/compose.yaml", "vllm/compose.three-models.yaml", "vllm/compose.yaml"]
    assert [len(read(file)["services"]) for file in FILES] == [1, 3, 1]


@BY_SERVICE
def test_its_image_is_one_that_is_made_here_for_its_folders_engine(file: Path, name: str) -> None:
    service, engine = find(file, name)
    cell = CELLS[service["image"]]
    assert (cell.image, cell.target.id) == (engine.image, "5090")


@BY_SERVICE
def test_it_is_started_as_serve_does(file: Path, name: str) -> None:
    service, engine = find(file, name)
    options = options_of(service)
    launched = engine.launch("MODEL", "NAME", "0.0.0.0", int(options["--port"]))
    known = {word for word in launched if word.startswith("--")} | {engine.memory_option, engine.length_option}
    assert set(options) <= known and {engine.memory_option, engine.length_option, *engine.model_option} <= set(options)
    assert options["--host"] == "0.0.0.0"
    [port] = service["ports"]
    assert port.startswith("127.0.0.1:") and port.endswith(f":{options['--port']}"), "this machine alone can ask"


@BY_SERVICE
def test_it_keeps_models_and_what_is_compiled_where_serve_does(file: Path, name: str) -> None:
    service, engine = find(file, name)
    subject = Subject(CELLS[service["image"]], DIGEST, "", engine)
    named = {key: volume["name"] for key, volume in read(file)["volumes"].items()}
    mounted = {place: named[key] for key, place in (each.split(":") for each in service["volumes"])}
    assert mounted == name_volumes(subject) and set(mounted) == {HOME, MODELS}
    expected = {key: value for key, value in make_environment(subject, HUB, Wanted(1)).items() if key != "HF_TOKEN"}
    proxies = {key for key in expected if key.lower().endswith("_proxy") or key == "HF_ENDPOINT"}
    assert service["environment"] == {key: expected[key] for key in expected.keys() - proxies} | {"HF_TOKEN": None}


@BY_SERVICE
def test_it_has_one_gpu_a_health_check_and_no_more_than_it_needs(file: Path, name: str) -> None:
    service, _ = find(file, name)
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["device_ids"]) == ("cdi", ["nvidia.com/gpu=0"])
    check = service["healthcheck"]["test"]
    assert (
        check[0] == "CMD" and f"'127.0.0.1', {options_of(service)['--port']}," in check[-1] and "/health" in check[-1]
    )
    compile(check[-1], "check", "exec")
    assert (service["shm_size"], service["init"], service["read_only"]) == ("1gb", True, True)
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_the_shares_of_a_cards_memory_add_up_to_less_than_the_card(file: Path) -> None:
    engine = ENGINES[file.parent.name]
    shares = [float(options_of(service)[engine.memory_option]) for service in read(file)["services"].values()]
    assert all(share > 0 for share in shares) and sum(shares) < 0.95


def test_three_models_fit_and_start_one_after_another() -> None:
    services = read(REPOSITORY_ROOT / "images/vllm/compose.three-models.yaml")["services"]
    weights_gib = {
        "01-ai/Yi-1.5-6B-Chat": 11.3,
        "Qwen/Qwen2.5-1.5B-Instruct": 2.9,
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 2.1,
    }
    assert [service["command"][0] for service in services.values()] == list(weights_gib)
    for service in services.values():
        share = float(options_of(service)["--gpu-memory-utilization"])
        # A gigabyte for activations and graphs, and another for the cache, at the least.
        assert share * CARD_GIB > weights_gib[service["command"][0]] + 2
    assert [list(service.get("depends_on", {})) for service in services.values()] == [[], ["yi"], ["qwen"]]
    conditions = {each["condition"] for service in services.values() for each in service.get("depends_on", {}).values()}
    assert conditions == {"service_healthy"}
    assert len({service["ports"][0] for service in services.values()}) == 3
