"""vLLM's smoke script: what it starts, and what it makes of the answers to what servers are put through."""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.smoke.models.zoo import find_reference

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "images/vllm"
SCENARIOS = tomllib.loads((FOLDER / "image.toml").read_text())["scenario"]
NAMES = ("smoke", "caches", "guarding", "nvml", "probe", "serving", "sweeping")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The script as a module, with its helpers beside it as in the container, and the reference where they look."""
    for folder in (ROOT / "scripts/smoke/inside", FOLDER):
        monkeypatch.syspath_prepend(str(folder))
    for name, value in {"DTYPE": "bfloat16", "CHECKS": "health", "TOLERANCE": "0.3", "SERVE_ARGS": ""}.items():
        monkeypatch.setenv(f"HALLMARK_{name}", value)
    monkeypatch.setenv("HALLMARK_START_S", "420")
    monkeypatch.setenv("HOME", str(tmp_path))
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    module = importlib.import_module("smoke")
    assert module.__file__ == str(FOLDER / "smoke.py")
    (tmp_path / "reference.json").write_bytes(find_reference("llama").read_bytes())
    monkeypatch.setattr(sys.modules["probe"], "SMOKE_DIR", tmp_path)
    yield module
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update({name: known for name, known in before.items() if known})


class Server:
    """In place of probe's: every completion is of as many tokens as were asked for; some paths may be refused."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.asked: list[tuple[str, Any]] = []

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        self.asked.append((path, body))
        if path in self.refused:
            return 503, "no"
        if path.endswith("_profile"):
            return 200, ""
        tokens = [7] * body["max_tokens"]
        choice = {"token_ids": tokens, "prompt_token_ids": [1], "logprobs": {"token_logprobs": [-1.0] * len(tokens)}}
        return 200, {"choices": [choice]}


def test_it_has_every_check_that_a_scenario_names(script: Any) -> None:
    assert {"guard", "upstream", *script.CHECKS} == {check for scenario in SCENARIOS for check in scenario["checks"]}


def test_it_starts_what_users_start_and_what_the_scenario_adds(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = script.command()
    assert words[:2] == ["vllm", "serve"] and words[words.index("--dtype") + 1] == "bfloat16"
    assert "--profiler-config" not in words
    monkeypatch.setenv("HALLMARK_SERVE_ARGS", "--enforce-eager --x 'a b'")
    assert script.command() == [*words, "--enforce-eager", "--x", "a b"]


def test_it_lets_the_server_profile_where_kernels_are_asked_for(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_CHECKS", "health kernels")
    words = script.command()
    config = json.loads(words[words.index("--profiler-config") + 1])
    assert config == {"profiler": "torch", "torch_profiler_dir": str(script.PROFILE)}


def test_under_load_it_asks_by_tokens_and_reads_what_each_was_worth(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed: list[Any] = []
    monkeypatch.setattr(script, "press", lambda server, ask, limit, measured: pressed.append((ask([1, 2], 4), limit)))
    server = Server()
    script.check_load(server, {})
    [(answer, limit)] = pressed
    assert (answer.tokens, answer.logprobs, limit) == ([7] * 4, [-1.0] * 4, 0.3)
    [(path, body)] = server.asked
    assert path == "/v1/completions" and body["prompt"] == [1, 2]
    assert (body["temperature"], body["ignore_eos"], body["max_tokens"]) == (0, True, 4)


def test_kernels_are_those_of_the_references_prompts(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "read_kernels", lambda folder: {"gemm": 1})
    server, measured = Server(), dict[str, Any]()
    script.check_kernels_in_use(server, measured)
    paths = [path for path, _ in server.asked]
    assert measured["kernels"] == {"gemm": 1}
    assert (paths[0], paths[-1]) == ("/start_profile", "/stop_profile") and "/v1/completions" in paths[1:-1]


@pytest.mark.parametrize("path", ["/start_profile", "/stop_profile"])
def test_a_server_that_cannot_be_profiled_fails(path: str, script: Any) -> None:
    with pytest.raises(sys.modules["probe"].Failed, match=f"{path} is answered with 503"):
        script.check_kernels_in_use(Server(path), {})


def test_of_prompts_of_every_size_it_reads_what_each_token_was_worth(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reader(Server):
        def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
            super().request(method, path, body)
            entries = [{"9": {"logprob": -9.0}, str(token): {"logprob": -float(token)}} for token in body["prompt"][1:]]
            return 200, {"choices": [{"prompt_logprobs": [None, *entries]}]}

    swept: list[Any] = []
    monkeypatch.setattr(script, "sweep", lambda read, reference, measured: swept.append(read([1, 2, 3])))
    server = Reader()
    script.check_sizes(server, {})
    assert swept == [[-2.0, -3.0]]
    [(path, body)] = server.asked
    assert path == "/v1/completions" and (body["prompt_logprobs"], body["temperature"]) == (0, 0)
