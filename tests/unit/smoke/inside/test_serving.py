"""What servers are put through: a scripted one that is right passes, and every way to be wrong fails."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nvml
import pytest
import serving
from probe import Failed
from serving import (
    Answer,
    check_kernels,
    check_libraries,
    compare_answers,
    loaded_libraries,
    press,
    read_kernels,
    start,
)

LIMIT = 0.03
COUNT = 4


class Scripted:
    """In place of probe's Server: answers alike for alike prompts, and from the request `after` on in its wrong way."""

    def __init__(self, wrong: Callable[[Answer], Answer] | None = None, after: int = 20) -> None:
        self.wrong, self.after, self.asked = wrong, after, 0
        self.health = 200

    def require_alive(self) -> Any:
        return SimpleNamespace(pid=os.getpid())

    def request(self, method: str, path: str) -> tuple[int, Any]:
        assert (method, path) == ("GET", "/health")
        return self.health, ""

    def ask(self, tokens: Sequence[int], count: int) -> Answer:
        self.asked += 1
        right = Answer([sum(tokens) % 251] * count, [-0.5] * count)
        return self.wrong(right) if self.wrong and self.asked > self.after else right


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOAD_S": "0.2", "LOAD_AT_ONCE": "4", "LOAD_TOKENS": str(COUNT)}.items():
        monkeypatch.setenv(f"HALLMARK_{name}", value)
    monkeypatch.delenv("HALLMARK_COMPUTE", raising=False)
    monkeypatch.delenv("HALLMARK_KERNELS", raising=False)
    monkeypatch.delenv("HALLMARK_FALLBACKS", raising=False)


def load(server: Scripted) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    press(server, server.ask, LIMIT, measured)  # type: ignore[arg-type]
    return measured


# --- start


class Starting:
    def __init__(self, needs_s: float) -> None:
        self.needs_s = needs_s

    def start(self, within_s: float) -> None:
        if self.needs_s > within_s:
            raise Failed(f"not healthy within {within_s:.0f} s")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HALLMARK_START_S", "90")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_start_has_its_bound_and_what_was_kept_before(home: Path) -> None:
    (home / ".cache").mkdir()
    (home / ".cache/x").write_bytes(b"123")
    measured: dict[str, Any] = {}
    start(Starting(89), measured)  # type: ignore[arg-type]
    assert measured["start_s"] == 90 and measured["figures"][0]["value"] == 3


def test_a_start_beyond_the_scenarios_bound_fails_with_it(home: Path) -> None:
    measured: dict[str, Any] = {}
    with pytest.raises(Failed, match="not healthy within 90 s"):
        start(Starting(91), measured)  # type: ignore[arg-type]
    assert measured["start_s"] == 90


# --- load


def test_a_server_that_answers_alike_under_load_passes_with_numbers() -> None:
    measured = load(Scripted())
    assert measured["same"] == measured["requests"] >= 4 and measured["at_once"] == 4
    assert measured["p50_s"] <= measured["p99_s"] and len(measured["memory_mib"]) == 2


def test_every_worker_meets_every_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = serving.make_prompts()
    assert len({prompt[0] for prompt in prompts}) == len(prompts) and max(map(max, prompts)) < 256
    assert {len(prompt) for prompt in prompts} >= {1, 1000}
    server, seen = Scripted(), set()

    def ask(tokens: Sequence[int], count: int) -> Answer:
        if server.asked >= len(prompts):
            seen.add(len(tokens))
        return server.ask(tokens, count)

    monkeypatch.setenv("HALLMARK_LOAD_AT_ONCE", str(len(prompts)))
    press(server, ask, LIMIT, {})  # type: ignore[arg-type]
    assert seen == {len(prompt) for prompt in prompts}


def die(right: Answer) -> Answer:
    raise Failed("the server has ended with exit code -9")


def misshape(right: Answer) -> Answer:
    raise KeyError("token_ids")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (misshape, "failed: KeyError: 'token_ids'"),
        (die, "failed: the server has ended with exit code -9"),
        (lambda right: Answer([], []), "0 tokens were answered, not 4"),
        (lambda right: Answer(right.tokens[:-1], right.logprobs[:-1]), "3 tokens were answered, not 4"),
        (lambda right: Answer(right.tokens, right.logprobs[:-1]), "4 tokens were answered, not 4"),
        (lambda right: Answer([252] * COUNT, [-0.6] * COUNT), "token 0 is 252 at -0.600 nats"),
        (lambda right: Answer(right.tokens, [-0.5, -0.5, -0.57, -0.5]), "token 2 is"),
        (lambda right: Answer(right.tokens, [float("nan")] * COUNT), "token 0 is"),
    ],
    ids=[
        "another form",
        "dies",
        "empty",
        "short",
        "no log-probability",
        "another token",
        "another number",
        "no number",
    ],
)
def test_what_goes_wrong_under_load_alone_is_told(wrong: Callable[[Answer], Answer], said: str) -> None:
    with pytest.raises(Failed, match="wrong under load") as caught:
        load(Scripted(wrong))
    assert said in str(caught.value)


def test_a_server_that_is_wrong_alone_already_fails() -> None:
    with pytest.raises(Failed, match="alone, 0 of 4 tokens"):
        load(Scripted(lambda right: Answer([], []), after=0))


def test_a_server_that_is_not_well_afterwards_fails() -> None:
    server = Scripted()
    server.health = 503
    with pytest.raises(Failed, match="/health is answered with 503"):
        load(server)


def test_a_server_too_slow_to_answer_everybody_once_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_LOAD_S", "0")
    with pytest.raises(Failed, match="only 0 requests"):
        load(Scripted())


@pytest.mark.parametrize(("after", "passes"), [(1500.0, True), (1513.0, False), (11_000.0, False)])
def test_memory_that_grows_fails(after: float, passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1000.0, after])
    monkeypatch.setattr(serving, "memory_mib", lambda server: next(sizes))
    if passes:
        load(Scripted())
    else:
        with pytest.raises(Failed, match=f"memory grew from 1000 to {after:.0f} MiB"):
            load(Scripted())


@pytest.mark.parametrize(("after", "passes"), [(4000.0, True), (4500.0, True), (4513.0, False)])
def test_memory_of_the_gpu_that_grows_fails(after: float, passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([4000.0, after])
    monkeypatch.setenv("HALLMARK_COMPUTE", "9.0")
    monkeypatch.setattr(nvml, "read_memory", lambda: nvml.Memory(0, 0, int(next(sizes) * nvml.MIB)))
    if passes:
        assert load(Scripted())["gpu_memory_mib"] == [4000.0, after]
    else:
        with pytest.raises(Failed, match="gpu_memory grew from 4000 to 4513 MiB"):
            load(Scripted())


def test_the_memory_of_a_server_is_that_of_its_processes() -> None:
    assert serving.memory_mib(Scripted()) > 10  # type: ignore[arg-type]


def test_two_tokens_that_are_as_likely_part_two_answers_and_are_told_apart_from_wrong_ones() -> None:
    alone = Answer([1, 2, 3], [-0.5, -0.7, -0.1])
    assert compare_answers(Answer([1, 2, 3], [-0.52, -0.7, -0.1]), alone, LIMIT) == ("", "same")
    assert compare_answers(Answer([1, 9, 8], [-0.5, -0.72, -3.0]), alone, LIMIT) == ("", "near")
    assert compare_answers(Answer([1, 9, 8], [-0.5, -0.77, -3.0]), alone, LIMIT)[1] == "wrong"


# --- kernels


def write_trace(path: Path, *names: str) -> None:
    events = [{"cat": "kernel", "name": name} for name in names] + [{"cat": "cpu_op", "name": "aten::mm"}, {"ph": "M"}]
    data = json.dumps({"traceEvents": events}).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_kernels_are_counted_over_all_traces(tmp_path: Path) -> None:
    write_trace(tmp_path / "a.pt.trace.json.gz", "gemm_e4m3", "norm", "norm")
    write_trace(tmp_path / "b.json", "norm")
    assert read_kernels(tmp_path) == {"norm": 3, "gemm_e4m3": 1}
    assert not read_kernels(tmp_path / "nothing")


def test_kernels_that_are_wanted_and_no_fallback_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_KERNELS", "e4m3|fp8 norm")
    monkeypatch.setenv("HALLMARK_FALLBACKS", "[Mm]arlin")
    measured: dict[str, Any] = {}
    check_kernels({"gemm_e4m3": 1, "norm": 3}, measured)
    assert measured == {"kernels": {"norm": 3, "gemm_e4m3": 1}, "different": 2}


@pytest.mark.parametrize(
    ("kernels", "said"),
    [
        ({}, "no GPU kernel"),
        ({"norm": 1}, "no kernel like e4m3 ran, but: norm"),
        ({"gemm_e4m3": 1, "void marlin::Marlin<4>": 2}, "a fallback ran: void marlin::Marlin<4>"),
    ],
)
def test_a_kernel_that_is_missing_or_a_fallback_fails(
    kernels: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_KERNELS", "e4m3")
    monkeypatch.setenv("HALLMARK_FALLBACKS", "[Mm]arlin")
    with pytest.raises(Failed) as caught:
        check_kernels(kernels, {})
    assert said in str(caught.value)


def test_the_evidence_lists_the_most_frequent_ones() -> None:
    measured: dict[str, Any] = {}
    check_kernels({f"kernel{number}" + "x" * 500: number + 1 for number in range(200)}, measured)
    assert len(measured["kernels"]) == serving.MOST_KERNELS and measured["different"] == 200
    assert next(iter(measured["kernels"])).startswith("kernel199") and max(map(len, measured["kernels"])) <= 160


# --- libraries

SITE = "/opt/venv/lib/python3.11/site-packages"


def maps(*paths: str) -> str:
    return "".join(f"7f0000-7f1000 r-xp 00000000 00:2a 12 {' ' * 20}{path}\n" for path in ("", "[heap]", *paths))


TORCH, RUNTIME = f"{SITE}/torch/lib/libtorch.so", f"{SITE}/nvidia/cu13/lib/libcudart.so.13"


def libraries(text: str, cuda: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    monkeypatch.setattr(serving, "find_processes", lambda server: [Path("/proc/1"), Path("/proc/2")])
    monkeypatch.setattr(serving, "_read", lambda path: text if path == Path("/proc/2/maps") else maps("/usr/bin/sh"))
    check_libraries(Scripted(), cuda, measured)  # type: ignore[arg-type]
    return measured


def test_one_of_each_kind_and_of_the_line_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = maps(TORCH, TORCH, RUNTIME, "/usr/lib/libc.so.6", f"{SITE}/torch/lib/libtorch_cpu.so")
    assert libraries(text, "13.0", monkeypatch) == {"libraries": {"libtorch": [TORCH], "libcudart": [RUNTIME]}}
    assert libraries(maps(TORCH), "", monkeypatch) == {"libraries": {"libtorch": [TORCH]}}


@pytest.mark.parametrize(
    ("paths", "cuda", "said"),
    [
        ((TORCH, RUNTIME, f"{SITE}/other/libcudart.so.12"), "13.0", "2 copies of libcudart"),
        ((TORCH, f"{SITE}/other/libcudart.so.12"), "13.0", "the image is for CUDA 13.0"),
        ((TORCH,), "13.0", "libcudart is of no version"),
        ((TORCH, RUNTIME), "", "is loaded on the CPU"),
        (("/usr/lib/libc.so.6",), "13.0", "no library of PyTorch is loaded"),
    ],
)
def test_a_second_copy_or_another_cuda_fails(
    paths: tuple[str, ...], cuda: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Failed) as caught:
        libraries(maps(*paths), cuda, monkeypatch)
    assert said in str(caught.value)


def test_only_libraries_with_a_state_of_their_own_count() -> None:
    assert loaded_libraries(
        maps("/a/libcudart.so.13.0.96", "/a/libcudart_static.so", "/a/libcudnn_ops.so.9")
    ).keys() == {"libcudart"}


def test_a_servers_processes_are_its_own_and_its_descendants() -> None:
    found = serving.find_processes(Scripted())  # type: ignore[arg-type]
    assert Path(f"/proc/{os.getpid()}") in found and Path("/proc/1") not in found
