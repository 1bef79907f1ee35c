"""Measures against scripted servers: what they add up to, and that a failure leaves no figure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import measure
import pytest
from measure import Trial, check_load, check_memory, check_models, check_prefix, check_serve, check_start, make_checks
from nvml import GIB, Memory
from probe import Failed
from stream import Answer

CACHE_SIZE = r"KV cache size: ([\d,]+) tokens"
SHARE = {"option": "--fraction", "of": "total", "counted": 1.0, "budget_gib": 8.0}


class Machine:
    """Servers that are scripted, on a GPU of 32 GiB: each holds some of it from its start to its end."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.alive: list[Scripted] = []
        self.held_gib = 7.0
        self.log = ["INFO GPU KV cache size: 12,345 tokens, more"]
        self.answer: Callable[[Sequence[int]], Answer] = lambda prompt: Answer(0.1, 0.4, 4, 0)
        self.on_start: Callable[[Scripted], None] = lambda server: None
        self.in_flight, self.most, self.prompts = 0, 0, list[Sequence[int]]()
        self.lock, self.gate = threading.Lock(), threading.Event()

    def read(self) -> Memory:
        used = round((1 + self.held_gib * len(self.alive)) * GIB)
        return Memory(32 * GIB, 32 * GIB - used, used)

    def ask(self, server: Scripted, prompt: Sequence[int], count: int, within_s: float) -> Answer:
        server.require_alive()
        with self.lock:
            self.prompts.append(prompt)
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
        self.gate.wait(0.005)
        with self.lock:
            self.in_flight -= 1
        found = self.answer(prompt)
        return Answer(found.first_s, found.last_s, count, found.cached)


class Scripted:
    """In place of probe's Server."""

    machine: Machine

    def __init__(self, command: Sequence[str], port: int) -> None:
        self.command, self.port = list(command), port

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        if self in self.machine.alive:
            self.machine.alive.remove(self)

    def start(self, within_s: float) -> None:
        self.machine.on_start(self)
        self.machine.started.append(" ".join(self.command))
        self.machine.alive.append(self)

    def require_alive(self) -> None:
        if self not in self.machine.alive:
            raise Failed("the server has ended with exit code 1")

    def log_lines(self) -> list[str]:
        return self.machine.log


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(Scripted, "machine", machine, raising=False)
    monkeypatch.setattr(measure, "Server", Scripted)
    monkeypatch.setattr(measure, "ask", machine.ask)
    monkeypatch.setattr(measure, "read_memory", machine.read)
    monkeypatch.setattr(measure, "SETTLE_S", 0.0)
    return machine


def make_spec(**changes: Any) -> dict[str, Any]:
    servers = [
        {"model": name, "port": 8000, "command": ["serve", name], "share": SHARE, "cache_size": CACHE_SIZE}
        for name in changes.pop("models", ["small"])
    ]
    usual = {"prompt": 8, "answer": 4, "prefix": 64, "loads": {"1": 2, "8": 16}, "repeats": 3, "answer_s": 1}
    usual |= {"start_s": 1, "models_at_once": 2, "models_requests": 4, "limit_gib": 32, "cached": True}
    return usual | {"servers": servers} | changes


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def make_trial(stack: ExitStack, runs: int = 3, *, serving: bool = True, **changes: Any) -> Trial:
    trial = Trial(make_spec(**changes), runs, stack)
    if serving:
        check_serve(trial, {})
    return trial


def figures(check: Callable[..., None], trial: Trial, **options: Any) -> dict[str, dict[str, Any]]:
    measured: dict[str, Any] = {}
    check(trial, measured, **options)
    assert measured["command"].startswith("serve ")
    return {each["name"]: each for each in measured["figures"]}


def fails(check: Callable[..., None], trial: Trial, said: str, **options: Any) -> None:
    """A check that fails says why, and leaves no figure."""
    measured: dict[str, Any] = {}
    with pytest.raises(Failed, match=said):
        check(trial, measured, **options)
    assert "figures" not in measured


# --- load


def test_load_is_as_many_requests_at_once_as_are_asked_for(machine: Machine, stack: ExitStack) -> None:
    found = figures(check_load, make_trial(stack), at_once=8)
    assert machine.most == 8
    assert len(machine.prompts) == 1 + 8 + 3 * 16, "the first answer, a warm-up, and three runs"
    assert found["ttft"] == {"name": "ttft", "value": 100, "unit": "ms", "better": "lower", "runs": [100] * 3}
    assert found["tpot"]["value"] == pytest.approx(100) and found["ttft-p99"]["value"] == 100
    assert found["throughput"]["better"] == "higher" and len(found["throughput"]["runs"]) == 3


def test_no_two_prompts_begin_alike(machine: Machine, stack: ExitStack) -> None:
    figures(check_load, make_trial(stack), at_once=8)
    assert len({tuple(prompt) for prompt in machine.prompts}) == len(machine.prompts)
    assert all(len(prompt) == 8 and max(prompt) < 256 for prompt in machine.prompts)


def test_a_run_is_its_median_and_runs_are_told_apart(machine: Machine, stack: ExitStack) -> None:
    trial = make_trial(stack, runs=2)
    times = iter([9.0, 0.1, 0.3, 0.5, 0.7])  # a warm-up, and two runs of two
    machine.answer = lambda prompt: Answer(next(times), 10, 4, 0)
    found = figures(check_load, trial, at_once=1)
    assert found["ttft"]["runs"] == [200, 600] and found["ttft"]["value"] == 400
    assert found["ttft-p99"]["runs"] == [300, 700]


def test_throughput_is_all_tokens_over_all_the_time() -> None:
    assert measure.throughput([Answer(0.1, 0.5, 30, 0), Answer(0.1, 0.9, 10, 0)], 2.0) == 20


@pytest.mark.parametrize(("count", "found"), [(1, 1), (99, 99), (100, 99), (200, 198)])
def test_a_percentile_is_one_of_the_values(count: int, found: int) -> None:
    assert measure.percentile(range(1, count + 1), 99) == found


def test_one_request_that_fails_leaves_no_figure(machine: Machine, stack: ExitStack) -> None:
    trial = make_trial(stack, loads={"1": 200})
    count = iter(range(1000))

    def stall_once(prompt: Sequence[int]) -> Answer:
        if next(count) == 10:
            raise Failed("the answer stalled")
        return Answer(0.1, 0.4, 4, 0)

    machine.answer = stall_once
    fails(check_load, trial, "the answer stalled", at_once=1)
    assert len(machine.prompts) < 100, "what was not sent yet is not sent any more"


def test_a_server_that_died_leaves_no_figure(machine: Machine, stack: ExitStack) -> None:
    trial = make_trial(stack)
    machine.alive.clear()
    for check, options in ((check_load, {"at_once": 1}), (check_memory, {}), (check_prefix, {})):
        fails(check, trial, "ended with exit code 1", **options)


@pytest.mark.parametrize(
    ("check", "options"),
    [(check_memory, {}), (check_prefix, {}), (check_load, {"at_once": 1}), (check_models, {"together": True})],
)
def test_where_no_server_was_started_nothing_is_measured(
    check: Callable[..., None], options: dict[str, Any], machine: Machine, stack: ExitStack
) -> None:
    def die(server: Scripted) -> None:
        raise Failed("not healthy within 1 s; its log has:\nan error\nand much")

    machine.on_start = die
    trial = make_trial(stack, serving=False)
    fails(check_serve, trial, "not healthy within 1 s")
    fails(check, trial, "not started: small: not healthy within 1 s; its log has: an error$", **options)


# --- start


def test_a_start_is_cold_where_what_servers_keep_is_gone(
    machine: Machine, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / ".cache"
    (cache / "inductor").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))
    seen: list[list[str]] = []

    def compile_something(server: Scripted) -> None:
        seen.append(sorted(path.name for path in tmp_path.rglob("*kernel*")))
        for path in (cache / "inductor/kernel", tmp_path / ".triton/kernel2", tmp_path / ".kernel3"):
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")

    (tmp_path / "server.log").write_text("kept")
    machine.on_start = compile_something
    trial = make_trial(stack, serving=False)
    cold, warm = (figures(check_start, trial, cold=cold) for cold in (True, False))
    kept = [".kernel3", "kernel", "kernel2"]
    assert seen == [[], [], [], kept, kept, kept]
    assert cache.is_dir() and (tmp_path / "server.log").exists()
    assert len(cold["start"]["runs"]) == len(warm["start"]["runs"]) == 3 and cold["start"]["unit"] == "s"
    assert machine.alive == []


def test_a_server_that_does_not_start_leaves_no_figure_and_no_process(machine: Machine, stack: ExitStack) -> None:
    def die(server: Scripted) -> None:
        raise Failed("not healthy within 1 s")

    machine.on_start = die
    fails(check_start, make_trial(stack, serving=False), "not healthy", cold=False)
    assert machine.alive == []


def test_memory_that_is_not_given_back_ends_the_starts(
    machine: Machine, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "__exit__", lambda *_: None)
    fails(check_start, make_trial(stack, serving=False), "memory is still held 0 s after", cold=False)


# --- memory


def test_memory_is_what_came_on_top_of_what_was_held_before(machine: Machine, stack: ExitStack) -> None:
    found = figures(check_memory, make_trial(stack, models=["a", "b"]))
    assert found["held"]["value"] == 2 * 7 * 1024 and found["held"]["unit"] == "MiB"
    assert found["cache-tokens"]["value"] == 2 * 12345


def test_each_server_is_given_its_share_of_the_card(machine: Machine, stack: ExitStack) -> None:
    make_trial(stack, models=["a", "b"])
    assert machine.started == ["serve a --fraction 0.250", "serve b --fraction 0.250"]


@pytest.mark.parametrize("held_gib", [7.0, 7.5])
def test_more_than_is_allowed_is_no_figure(held_gib: float, machine: Machine, stack: ExitStack) -> None:
    machine.held_gib = held_gib
    trial = make_trial(stack, models=["a", "b"], limit_gib=14)
    if held_gib == 7.0:
        assert figures(check_memory, trial)["held"]["value"] == 14 * 1024
    else:
        fails(check_memory, trial, "15.0 GiB are held, and 14 GiB are allowed")


def test_a_card_on_which_nothing_is_held_is_not_the_one_that_serves(machine: Machine, stack: ExitStack) -> None:
    machine.held_gib = 0.0
    fails(check_memory, make_trial(stack), "0 MiB are held: the GPU's memory is not what is counted")


def test_three_models_that_do_not_fit_are_told(machine: Machine, stack: ExitStack) -> None:
    machine.held_gib = 15.0
    trial = make_trial(stack, models=["a", "b", "c"], serving=False)
    fails(check_serve, trial, r"8\.0 GiB are wanted, and 1\.0 of 32\.0 GiB are free")
    for check, options in ((check_models, {"together": True}), (check_memory, {})):
        fails(check, trial, r"not started: c: 8\.0 GiB are wanted", **options)


def test_a_model_that_an_engine_finds_no_room_for_is_told_in_the_engines_words(
    machine: Machine, stack: ExitStack
) -> None:
    def refuse(server: Scripted) -> None:
        if len(machine.alive) == 2:
            raise Failed("exit code 1; its log has:\nValueError: No available memory for the cache.\nand ends:\n")

    machine.on_start, machine.held_gib = refuse, 5.0
    trial = make_trial(stack, models=["a", "b", "c"], serving=False)
    fails(check_serve, trial, "exit code 1")
    said = r"^not started: c: exit code 1; its log has: ValueError: No available memory for the cache\.$"
    fails(check_models, trial, said, together=False)


def test_a_log_that_does_not_say_how_large_the_cache_is_gives_no_figure(machine: Machine, stack: ExitStack) -> None:
    machine.log = ["INFO started"]
    fails(check_memory, make_trial(stack), "does not say how large the cache is")


def test_without_a_gpu_memory_is_the_processes(
    machine: Machine, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "memory_mib", lambda server: 512.0)
    servers = [dict(make_spec()["servers"][0], share=None)]
    assert figures(check_memory, make_trial(stack, servers=servers))["held"]["value"] == 512
    assert machine.started == ["serve small"]


# --- a shared prefix


def hit(cached: int) -> Callable[[Sequence[int]], Answer]:
    return lambda prompt: Answer(0.05, 0.2, 4, cached)


def test_a_prefix_is_sent_before_it_is_measured(machine: Machine, stack: ExitStack) -> None:
    trial = make_trial(stack, runs=2)
    machine.answer, machine.prompts = hit(48), []
    found = figures(check_prefix, trial)
    assert (found["ttft"]["value"], found["cached"]["value"]) == (50, 48)
    prefixes = [tuple(prompt[:64]) for prompt in machine.prompts]
    assert [prefixes.count(prefix) for prefix in dict.fromkeys(prefixes)] == [4, 4]
    assert prefixes[0][0] != prefixes[4][0]


@pytest.mark.parametrize("cached", [0, 31])
def test_a_cache_that_is_never_hit_is_no_figure(cached: int, machine: Machine, stack: ExitStack) -> None:
    machine.answer = hit(cached)
    fails(check_prefix, make_trial(stack), f"of 64 tokens sent before, {cached} were cached")


def test_with_the_cache_off_nothing_may_be_cached(machine: Machine, stack: ExitStack) -> None:
    trial = make_trial(stack, cached=False)
    assert figures(check_prefix, trial).keys() == {"ttft"}
    machine.answer = hit(1)
    fails(check_prefix, trial, "1 tokens were cached with the cache off")


# --- several models


@pytest.mark.parametrize(("together", "most"), [(False, 2), (True, 4)])
def test_models_are_pressed_alone_or_together(together: bool, most: int, machine: Machine, stack: ExitStack) -> None:
    trial = make_trial(stack, models=["a", "b"])
    found = figures(check_models, trial, together=together)
    assert machine.most == most
    assert list(found) == [f"{model}/{name}" for model in "ab" for name in ("ttft", "tpot", "throughput")]
    assert all(len(each["runs"]) == 3 for each in found.values())


# --- the script


def test_every_level_of_load_is_a_check() -> None:
    names = ["cold", "warm", "serve", "at-1", "at-8", "memory", "shared-prefix", "alone", "together"]
    assert list(make_checks(make_spec())) == names


def test_a_figure_of_no_run_is_none() -> None:
    with pytest.raises(Failed, match="x was not measured"):
        measure.figure("x", [], "s")
