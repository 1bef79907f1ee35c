"""What a server's container is started with: what it may reach, what it keeps, and whose word counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.matrix import load_matrix
from scripts.serve.container import Wanted, make_command, make_environment, name_volumes
from scripts.serve.model import Model
from scripts.serve.network import Way
from tests.unit.builders import REPOSITORY_ROOT, RTX
from tests.unit.serve.made import HUB, PORT, Serving, make_subject

LOCAL = Model("tiny", Path("/models/tiny"))


def test_a_container_is_locked_down_and_has_what_engines_need(serving: Serving) -> None:
    serving.run()
    options = serving.options
    assert options["network"] == "none" and options["ports"] == {}
    assert options["read_only"] is True and options["cap_drop"] == ["ALL"] and options["init"] is True
    assert options["security_opt"] == ["no-new-privileges"] and options["shm_size"] == 1 << 30
    volumes, [model] = options["mounts"][:2], options["mounts"][2:]
    assert [(each["Source"], each["Type"]) for each in volumes] == [
        ("hallmark-compiled-serve-cpu", "volume"),
        ("hallmark-models", "volume"),
    ]
    assert (model["Target"], model["ReadOnly"], model["Type"]) == ("/model", True, "bind")


def test_a_model_of_a_hub_is_no_mount(serving: Serving) -> None:
    serving.model = HUB
    serving.run(Way.PUBLISHED)
    assert [each["Type"] for each in serving.options["mounts"]] == ["volume", "volume"]


@pytest.mark.parametrize(("engine", "begin"), [("vllm", ["/model"]), ("sglang", ["--model-path", "/model"])])
def test_the_engine_is_started_as_it_wants_and_the_users_word_is_the_last(engine: str, begin: list[str]) -> None:
    command = make_command(make_subject(engine), LOCAL, Wanted(PORT, ("--dtype", "float32")))
    address = ["--served-model-name", "tiny", "--host", "0.0.0.0", "--port", "8000"]
    assert command == [*begin, *address, "--dtype", "float32"]
    assert make_command(make_subject(engine), HUB, Wanted(PORT))[len(begin) - 1] == "team/model"


def test_the_images_begin_as_the_engines_are_started() -> None:
    for name, image in load_matrix(REPOSITORY_ROOT).images.items():
        if name in ("vllm", "sglang"):
            program = make_subject(name).server.program
            quoted = ", ".join(f'"{word}"' for word in program)
            assert f"ENTRYPOINT [{quoted}]" in (image.folder / "Dockerfile").read_text()


def test_what_a_hub_needs_is_for_a_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    local, hub = (make_environment(make_subject(), model, Wanted(PORT)) for model in (LOCAL, HUB))
    assert local["HF_HUB_OFFLINE"] == "1" and "HF_TOKEN" not in local
    assert hub["HF_TOKEN"] == "secret" and "HF_HUB_OFFLINE" not in hub and "HTTPS_PROXY" not in hub


def test_the_users_variables_count() -> None:
    wanted = Wanted(PORT, environment={"VLLM_CPU_KVCACHE_SPACE": "1"})
    assert make_environment(make_subject(), LOCAL, Wanted(PORT))["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert make_environment(make_subject(), LOCAL, wanted)["VLLM_CPU_KVCACHE_SPACE"] == "1"


def test_cells_share_models_and_not_what_is_compiled() -> None:
    one, other = (name_volumes(make_subject(target=target)) for target in (RTX, make_subject().cell.target))
    assert len({*one.values(), *other.values()}) == 3
