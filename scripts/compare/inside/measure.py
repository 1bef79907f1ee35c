"""What an engine is measured by, from inside its image: starts, load, memory, a shared prefix, several models at once.

Standard library only: it runs in the candidate, beside `probe` and `serving`, and writes a JSON line for each check.
HALLMARK_SPEC says what is asked, HALLMARK_RUNS how often. A check that fails gives no figure.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shlex
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from memory import memory_arguments
from nvml import GIB, MIB, Memory, read_memory
from probe import POLL_S, Failed, Server, require, run_checks
from serving import memory_mib
from stream import Answer, ask

FEW = 4  # tokens of an answer of which only the beginning counts
TAIL = 16  # tokens after a shared prefix
SETTLE_S = 60.0
TOKENS = 256  # prompts are drawn from the tokens that any of the models has


class Trial:
    """The servers of one run, and how they are asked.

    `servers` has those that were started, by model, and `fault` says why there is one less, for whoever misses it.
    """

    def __init__(self, spec: Mapping[str, Any], runs: int, stack: ExitStack) -> None:
        self.spec, self.runs, self.stack = spec, runs, stack
        self.servers: dict[str, Server] = {}
        self.before: Memory | None = None
        self.fault = ""
        self.seeds = itertools.count()

    def make_server(self, entry: Mapping[str, Any]) -> Server:
        """A server that is not started yet, held to its share of what memory there is."""
        held = []
        if entry["share"]:
            memory = read_memory()
            self.before = self.before or memory
            held = memory_arguments(entry["share"], memory)
        return Server([*entry["command"], *held], entry["port"])

    def start(self, server: Server) -> float:
        """Start a server; the seconds until it has answered its first request."""
        started = time.monotonic()
        server.start(self.spec["start_s"])
        self.ask(server, self.spec["prompt"], FEW)
        return time.monotonic() - started

    def settle(self) -> None:
        """Wait until the GPU's memory is free again: what a process held is given back a moment after its end."""
        deadline = time.monotonic() + SETTLE_S
        while self.before and read_memory().used > self.before.used + 64 * MIB:
            require(time.monotonic() < deadline, f"memory is still held {SETTLE_S:.0f} s after the server was ended")
            time.sleep(POLL_S)

    def first(self) -> Server:
        """The one server of a run that has one."""
        return self.all()[0]

    def all(self) -> list[Server]:
        """Every server of the run. Raises Failed where one did not start, and says why it did not."""
        lacking = [entry["model"] for entry in self.spec["servers"] if entry["model"] not in self.servers]
        require(not lacking, f"not started: {', '.join(lacking)}: {self.fault}")
        return [self.servers[entry["model"]] for entry in self.spec["servers"]]

    def ask(self, server: Server, length: int, count: int, prefix: Sequence[int] = ()) -> Answer:
        """Ask for tokens after a prompt that begins with `prefix`, and goes on like no other, up to a length."""
        draw = random.Random(next(self.seeds))  # noqa: S311  a prompt is no secret
        tail = [draw.randrange(TOKENS) for _ in range(length - len(prefix))]
        return ask(server, [*prefix, *tail], count, self.spec["answer_s"])

    def press(self, server: Server, at_once: int, requests: int) -> tuple[list[Answer], float]:
        """Ask so many requests, so many at once; the answers, and the seconds that all of them took."""
        started = time.monotonic()
        length, count = self.spec["prompt"], self.spec["answer"]
        with ThreadPoolExecutor(at_once) as pool:
            asked = [pool.submit(self.ask, server, length, count) for _ in range(requests)]
            try:
                answers = [each.result() for each in asked]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # those that were not sent yet would stall as well
                raise
        return answers, time.monotonic() - started


Check = Callable[[Trial, dict[str, Any]], None]


def main() -> None:
    """Run every check that is asked for; once a server has died, those that need it fail with the reason."""
    spec, runs = json.loads(os.environ["HALLMARK_SPEC"]), int(os.environ["HALLMARK_RUNS"])
    with ExitStack() as stack:
        trial = Trial(spec, runs, stack)
        run_checks({name: partial(run_check, trial, check) for name, check in make_checks(spec).items()})


def run_check(trial: Trial, check: Check, measured: dict[str, Any]) -> None:
    """Run a check, and say how often it measures."""
    measured["runs"] = trial.runs
    check(trial, measured)


def make_checks(spec: Mapping[str, Any]) -> dict[str, Check]:
    """The checks by name; those of load are named after how many requests are in flight."""
    levels = {f"at-{level}": partial(check_load, at_once=int(level)) for level in spec["loads"]}
    return {
        "cold": partial(check_start, cold=True),
        "warm": partial(check_start, cold=False),
        "serve": check_serve,
        **levels,
        "memory": check_memory,
        "shared-prefix": check_prefix,
        "alone": partial(check_models, together=False),
        "together": partial(check_models, together=True),
    }


def check_start(trial: Trial, measured: dict[str, Any], cold: bool) -> None:
    """How long a server takes from its command to its first answer, with what servers keep taken away, or there."""
    [entry] = trial.spec["servers"]
    seconds = []
    for _ in range(trial.runs):
        if cold:
            empty_caches(Path(os.environ["HOME"]), Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent)
        with trial.make_server(entry) as server:
            measured["command"] = shlex.join(server.command)
            seconds.append(trial.start(server))
        trial.settle()
    measured["figures"] = [figure("start", seconds, "s")]


def empty_caches(home: Path, cache: Path) -> None:
    """Remove what programs keep: all in the folder for it, and other hidden files of their home."""
    for path in (*cache.iterdir(), *home.glob(".*")):
        if path == cache:
            continue  # it is a mount, and stays
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_serve(trial: Trial, measured: dict[str, Any]) -> None:
    """All servers of the run start, one after another."""
    commands = []
    measured["started_s"] = []
    for entry in trial.spec["servers"]:
        try:
            server = trial.stack.enter_context(trial.make_server(entry))
            commands.append(shlex.join(server.command))
            measured["started_s"].append(round(trial.start(server), 2))
        except Failed as failure:
            trial.fault = " ".join(str(failure).splitlines()[:2])  # a server's end, and the first error of its log
            raise
        trial.servers[entry["model"]] = server
    measured["command"] = "; ".join(commands)


def check_load(trial: Trial, measured: dict[str, Any], at_once: int) -> None:
    """Latency and throughput with so many requests in flight, after as many that are not measured."""
    server = trial.first()
    requests = trial.spec["loads"][str(at_once)]
    measured["command"] = shlex.join(server.command)
    trial.press(server, at_once, at_once)
    rounds = [trial.press(server, at_once, requests) for _ in range(trial.runs)]
    measured["figures"] = [
        *latencies([answers for answers, _ in rounds]),
        figure("ttft-p99", [1000 * percentile([each.first_s for each in answers], 99) for answers, _ in rounds], "ms"),
        figure("throughput", [throughput(answers, took) for answers, took in rounds], "tokens/s", better="higher"),
    ]


def check_memory(trial: Trial, measured: dict[str, Any]) -> None:
    """What the servers hold after the load, within what is allowed, and how many tokens fit their caches."""
    servers = trial.all()
    for server in servers:
        server.require_alive()
    measured["command"] = "; ".join(shlex.join(server.command) for server in servers)
    limit = trial.spec["limit_gib"]
    if trial.before:
        held = (read_memory().used - trial.before.used) / MIB
        require(held > 0, f"{held:.0f} MiB are held: the GPU's memory is not what is counted")
        require(held <= limit * GIB / MIB, f"{held / 1024:.1f} GiB are held, and {limit} GiB are allowed")
    else:
        held = sum(memory_mib(server) for server in servers)
    patterns = [entry["cache_size"] for entry in trial.spec["servers"]]
    tokens = [find_cache_size(server, pattern) for server, pattern in zip(servers, patterns)]  # noqa: B905 (the lengths are equal)
    measured["figures"] = [
        figure("held", [held], "MiB"),
        figure("cache-tokens", [sum(tokens)], "tokens", better="higher"),
    ]


def find_cache_size(server: Server, pattern: str) -> int:
    """How many tokens fit a server's key-value cache, as its log says. Raises Failed where it does not."""
    found = re.findall(pattern, "\n".join(server.log_lines()))
    require(bool(found), f"the log does not say how large the cache is (no `{pattern}`)")
    return int(found[-1].replace(",", ""))


def check_prefix(trial: Trial, measured: dict[str, Any]) -> None:
    """How soon a prompt is answered of which the server was sent the larger part before; cached or not, as is asked."""
    server = trial.first()
    measured["command"] = shlex.join(server.command)
    length, cached = trial.spec["prefix"], trial.spec["cached"]
    rounds = []
    for number in range(trial.runs):
        prefix = [255 - number, *(place % 251 for place in range(length - 1))]  # no round's begins like another's
        trial.ask(server, length + TAIL, FEW, prefix)
        rounds.append([trial.ask(server, length + TAIL, FEW, prefix) for _ in range(trial.spec["repeats"])])
    hits = [statistics.median(answer.cached for answer in answers) for answers in rounds]
    measured["cached_tokens"] = hits
    if cached:
        require(min(hits) >= length / 2, f"of {length} tokens sent before, {min(hits):.0f} were cached")
    else:
        require(max(hits) == 0, f"{max(hits):.0f} tokens were cached with the cache off")
    first = [1000 * statistics.median(answer.first_s for answer in answers) for answers in rounds]
    measured["figures"] = [figure("ttft", first, "ms")]
    if cached:
        measured["figures"].append(figure("cached", hits, "tokens", better="higher"))


def check_models(trial: Trial, measured: dict[str, Any], together: bool) -> None:
    """The latency of each model with some requests in flight, the other servers idle, or under the same load."""
    at_once, requests = trial.spec["models_at_once"], trial.spec["models_requests"]
    names = [entry["model"] for entry in trial.spec["servers"]]
    measured["command"] = "; ".join(shlex.join(server.command) for server in trial.all())
    rounds: dict[str, list[tuple[list[Answer], float]]] = {name: [] for name in names}
    for _ in range(trial.runs):
        with ThreadPoolExecutor(len(names) if together else 1) as pool:
            pressed = [pool.submit(trial.press, trial.servers[name], at_once, requests) for name in names]
            for name, each in zip(names, pressed):  # noqa: B905 (the lengths are equal)
                rounds[name].append(each.result())
    measured["figures"] = [
        {**each, "name": f"{name}/{each['name']}"}
        for name in names
        for each in (
            *latencies([answers for answers, _ in rounds[name]]),
            figure("throughput", [throughput(*done) for done in rounds[name]], "tokens/s", better="higher"),
        )
    ]


def latencies(rounds: Sequence[Sequence[Answer]]) -> list[dict[str, Any]]:
    """The medians over each round's answers: time to the first token, and of each token after it."""
    first = [1000 * statistics.median(answer.first_s for answer in answers) for answers in rounds]
    later = [1000 * statistics.median(answer.per_token_s for answer in answers) for answers in rounds]
    return [figure("ttft", first, "ms"), figure("tpot", later, "ms")]


def throughput(answers: Sequence[Answer], seconds: float) -> float:
    """Generated tokens a second, over all answers."""
    return sum(answer.tokens for answer in answers) / seconds


def percentile(values: Sequence[float], part: int) -> float:
    """The smallest value that is not exceeded by so many per cent of them."""
    ordered = sorted(values)
    return ordered[max(0, -(-part * len(ordered) // 100) - 1)]


def figure(name: str, runs: Sequence[float], unit: str, better: str = "lower") -> dict[str, Any]:
    """A figure as the evidence has it: the median of its runs, and each of them."""
    if not runs:
        raise Failed(f"{name} was not measured")
    values = [round(value, 3) for value in runs]
    return {"name": name, "value": statistics.median(values), "unit": unit, "better": better, "runs": values}


if __name__ == "__main__":
    main()
