"""What the smoke scripts of servers share: their start, load, the kernels that ran, and what a server has loaded.

Standard library only: it runs inside the candidate, as `probe` does, and stands beside it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nvml
from caches import measure_caches
from probe import Failed, Server, require

MOST_KERNELS = 60  # names that the evidence lists, the most frequent first
LONGEST_NAME = 160
USUAL = {"AT_ONCE": "64", "TOKENS": "16"}
GROWTH = 0.1  # of memory under load, the machine's and the GPU's each, relative to before
SLACK_MIB = 512.0  # and what it may grow by in any case
# Libraries of which a process may have one copy: two of them do not share their state, or crash.
SINGLE = re.compile(r"/(lib(?:cuda|cudart|cublas|cublasLt|cudnn|nccl|nvrtc|torch|torch_cuda|c10))\.so[.\d]*$")


@dataclass(frozen=True)
class Answer:
    """One completion: its token ids, and the log-probability of each in nats."""

    tokens: Sequence[int]
    logprobs: Sequence[float]


Ask = Callable[[Sequence[int], int], Answer]


def answer(response: tuple[int, Any]) -> dict[str, Any]:
    """The body of a response whose status must be 200."""
    status, body = response
    require(status == 200, f"answered with {status}: {str(body)[:500]}")
    return dict(body)


def start(server: Server, measured: dict[str, Any]) -> None:
    """Start a server, which has HALLMARK_START_S seconds to become healthy; what the caches held before is recorded."""
    limit = float(os.environ["HALLMARK_START_S"])
    measured |= {"start_s": limit, **measure_caches()}
    server.start(limit)


def make_prompts() -> list[list[int]]:
    """Prompts of mixed lengths, from 1 to 1,000 tokens, none of which begins like another."""
    lengths = (1, 7, 32, 64, 100, 257, 512, 1000)
    return [
        [first, *((7 * first + 3 * place) % 256 for place in range(1, length))]
        for first, length in enumerate(lengths, 40)
    ]


def press(server: Server, ask: Ask, limit: float, measured: dict[str, Any]) -> None:
    """Ask for tokens of each prompt alone, then of all of them side by side for a while.

    The scenario says for how long and how many, or takes what is usual: HALLMARK_LOAD_S (seconds, 120),
    HALLMARK_LOAD_AT_ONCE (requests, 64), HALLMARK_LOAD_TOKENS (of each answer, 16).

    Greedy answers under load have to be those of alone, or to part from them where two tokens are as likely, within
    `limit` nats. Raises Failed for another answer, an empty or short one, a request that fails, memory that grows, and
    a server that is not well afterwards.
    """
    seconds = float(os.environ.get("HALLMARK_LOAD_S", "120"))
    at_once, count = (int(os.environ.get(f"HALLMARK_LOAD_{name}", usual)) for name, usual in USUAL.items())
    prompts = make_prompts()
    alone = [ask(prompt, count) for prompt in prompts]
    for each in alone:
        require(len(each.tokens) == count, f"alone, {len(each.tokens)} of {count} tokens were answered")
    before = measure_memory(server)
    faults: list[str] = []
    done: Counter[str] = Counter()
    latencies: list[float] = []
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        while time.monotonic() < end and not faults:
            index = number % len(prompts)
            number += at_once + 1  # so that every worker meets every prompt
            started = time.monotonic()
            try:
                found = ask(prompts[index], count)
            except Exception as error:  # an answer of another form, too: a worker that ends unheard would be a pass
                kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
                faults.append(f"a request of {len(prompts[index])} tokens failed: {kind}{error}")
                return
            latencies.append(time.monotonic() - started)
            fault, kind = compare_answers(found, alone[index], limit)
            done[kind] += 1
            if fault:
                faults.append(f"of {len(prompts[index])} tokens: {fault}")

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = measure_memory(server)
    latencies.sort()
    measured |= {"requests": len(latencies), "at_once": at_once, **done}
    measured |= {f"{where}_mib": [before[where], after[where]] for where in before}
    if latencies:
        measured |= {f"p{part}_s": round(latencies[int(part / 100 * (len(latencies) - 1))], 3) for part in (50, 99)}
    require(not faults, f"{len(faults)} wrong under load; the first, {faults[0] if faults else ''}")
    require(len(latencies) >= at_once, f"only {len(latencies)} requests were answered in {seconds:.0f} s")
    for where, size in before.items():
        bound = size + max(size * GROWTH, SLACK_MIB)
        require(after[where] <= bound, f"{where} grew from {size:.0f} to {after[where]:.0f} MiB under load")
    status, _ = server.request("GET", "/health")
    require(status == 200, f"after the load, /health is answered with {status}")


def compare_answers(answer: Answer, alone: Answer, limit: float) -> tuple[str, str]:
    """What is wrong with an answer, if anything, and which kind it is: `same`, `near`, or `wrong`."""
    if len(answer.tokens) != len(alone.tokens) or len(answer.logprobs) != len(alone.logprobs):
        return f"{len(answer.tokens)} tokens were answered, not {len(alone.tokens)}", "wrong"
    for place, (found, wanted) in enumerate(zip(answer.tokens, alone.tokens)):  # noqa: B905 (the lengths are equal)
        difference = abs(answer.logprobs[place] - alone.logprobs[place])
        if not difference <= 2 * limit:  # NaN is wrong, too
            values = f"{answer.logprobs[place]:.3f} nats, alone {wanted} at {alone.logprobs[place]:.3f}"
            return f"token {place} is {found} at {values}", "wrong"
        if found != wanted:  # two tokens that are as likely; what follows is another text
            return "", "near"
    return "", "same"


def measure_memory(server: Server) -> dict[str, float]:
    """What a server holds of the machine's memory, and of the GPU's what is in use there at all, in MiB."""
    gpu = {"gpu_memory": nvml.read_memory().used / nvml.MIB} if os.environ.get("HALLMARK_COMPUTE") else {}
    return {"memory": memory_mib(server), **gpu}


def memory_mib(server: Server) -> float:
    """What the processes of a server hold of the machine's memory, in MiB."""
    kibibytes = 0
    for process in find_processes(server):
        status = _read(process / "status")
        kibibytes += sum(int(size) for size in re.findall(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE))
    return round(kibibytes / 1024, 1)


def find_processes(server: Server) -> list[Path]:
    """The folders in /proc of a server's process and its descendants."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _read(folder / "stat").rpartition(")")[2].split()
        if fields:
            parents[int(folder.name)] = int(fields[1])
    family = {server.require_alive().pid}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return [Path(f"/proc/{pid}") for pid in sorted(family)]


def check_libraries(server: Server, cuda: str, measured: dict[str, Any]) -> None:
    """No process of the server has two copies of a CUDA library or of PyTorch's, and CUDA is the line's major version.

    `cuda` is the line, such as 13.0; empty for the CPU, where no CUDA may be loaded at all.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for process in find_processes(server):
        found = loaded_libraries(_read(process / "maps"))
        for name, paths in found.items():
            require(len(paths) == 1, f"a process has {len(paths)} copies of {name}: {', '.join(sorted(paths))}")
            seen[name] |= paths
    measured["libraries"] = {name: sorted(paths) for name, paths in sorted(seen.items())}
    runtimes = sorted(path.rpartition(".so.")[2] for path in seen.get("libcudart", ()))
    require(bool(seen), "no library of PyTorch is loaded")
    if cuda:
        wanted = cuda.partition(".")[0]
        right = bool(runtimes) and all(version.partition(".")[0] == wanted for version in runtimes)
        require(right, f"libcudart is of {runtimes or 'no version'}, the image is for CUDA {cuda}")
    else:
        require(not runtimes, f"libcudart {runtimes} is loaded on the CPU")


def loaded_libraries(maps: str) -> dict[str, set[str]]:
    """The libraries of which there may be one, by name, out of a /proc/PID/maps."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in maps.splitlines():
        path = line.partition("/")[2]
        if match := SINGLE.search(f"/{path}"):
            found[match[1]].add(f"/{path}")
    return found


def read_kernels(folder: Path) -> Counter[str]:
    """How often each GPU kernel ran, by name, out of the PyTorch profiler's traces in a folder."""
    kernels: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.json*")):
        data = path.read_bytes()
        events = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data).get("traceEvents", ())
        kernels.update(str(event.get("name")) for event in events if event.get("cat") == "kernel")
    return kernels


def check_kernels(kernels: Mapping[str, int], measured: dict[str, Any]) -> None:
    """Kernels like those that are wanted ran, and none like those that are not.

    The scenario says which: HALLMARK_KERNELS and HALLMARK_FALLBACKS, regular expressions with spaces between them.
    """
    wanted, unwanted = (os.environ.get(f"HALLMARK_{name}", "").split() for name in ("KERNELS", "FALLBACKS"))
    measured["kernels"] = {
        name[:LONGEST_NAME]: count for name, count in sorted(kernels.items(), key=lambda item: -item[1])[:MOST_KERNELS]
    }
    measured["different"] = len(kernels)
    require(bool(kernels), "the profile has no GPU kernel")
    lacking = [pattern for pattern in wanted if not any(re.search(pattern, name) for name in kernels)]
    fallbacks = sorted(name[:LONGEST_NAME] for name in kernels if any(re.search(pattern, name) for pattern in unwanted))
    require(not lacking, f"no kernel like {' or '.join(lacking)} ran, but: {'; '.join(measured['kernels'])[:1500]}")
    require(not fallbacks, f"a fallback ran: {'; '.join(fallbacks)[:1500]}")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""
