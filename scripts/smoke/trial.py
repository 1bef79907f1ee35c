"""One run of an image's smoke script in a sandbox, and what became of it: the script's results, and the container's."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.errors import APIError, ImageNotFound
from docker.types import DeviceRequest

from scripts.engine import Engine
from scripts.engine.client import FAILURES
from scripts.engine.sandbox import NOBODY, Ending, Mount, Request, open_sandbox
from scripts.files import parse_json
from scripts.matrix import Scenario
from scripts.model import Outcome, Result

LABEL = "io.hallmark.smoke"
CONTAINER = "container"  # the check that says how the container itself ended
GIB = 1 << 30
MOUNTED_AT = "/hallmark"
WRITABLE = "/tmp"  # noqa: S108  the container's own tmpfs; all that it may write to is in it
CACHE = f"{WRITABLE}/.cache"  # on the disk, where scenarios share it
PROTOCOL = "protocol"  # the name of what a script printed that is no result
_SIGNALS = {134: "aborted (SIGABRT)", 135: "bus error", 137: "killed (SIGKILL)", 139: "segmentation fault"}


@dataclass(frozen=True)
class Trial:
    """What came of it: `results` are the script's own lines followed by the container's own, `log` is stderr."""

    results: tuple[Result, ...]
    log: str
    seconds: float


def run_trial(
    engine: Engine,
    digest: str,
    folder: Path,
    scenario: Scenario,
    environment: Mapping[str, str],
    devices: Sequence[DeviceRequest] = (),
    cache: Path | None = None,
    script: str = "smoke.py",
) -> Trial:
    """Run a script of `folder` in the image of this digest, within the scenario's bounds, with these GPUs alone.

    `cache` is a folder that the container may write to, besides its own memory, for what servers compile and keep.

    Whatever the image does becomes a result; only what the engine fails to do is an ERROR among them. Raises Undecided
    where a container is left behind.
    """
    started = time.monotonic()
    try:
        with open_sandbox(engine, _request(digest, folder, scenario, environment, devices, cache, script)) as sandbox:
            ending = sandbox.run()
    except FAILURES as error:
        seconds = round(time.monotonic() - started, 1)
        return Trial((Result(CONTAINER, Outcome.ERROR, _explain(error)),), "", seconds)
    results = (*parse_results(ending.stdout.decode(errors="replace")), judge_ending(ending, scenario))
    return Trial(results, ending.stderr.decode(errors="replace"), ending.seconds)


def judge_ending(ending: Ending, scenario: Scenario) -> Result:
    """The container's own result, by its time, its memory and its exit code."""
    if ending.timed_out:
        detail = f"did not end within {scenario.timeout_s} s and was killed"
        return Result(CONTAINER, Outcome.FAILED, detail, {"timeout_s": scenario.timeout_s})
    code = ending.exit_code
    measured = {"exit_code": code}
    # A child may be killed for memory while its parent ends with 0: the flag counts, whatever the exit code.
    if ending.oom:
        detail = f"a process was killed for memory: it needs more than {scenario.memory_gib} GiB"
        return Result(CONTAINER, Outcome.FAILED, detail, measured)
    if code != 0:
        return Result(CONTAINER, Outcome.FAILED, f"exit code {code}: {_SIGNALS.get(code, 'an error')}", measured)
    return Result(CONTAINER, Outcome.PASSED, "ended by itself with exit code 0", measured)


def parse_results(text: str) -> list[Result]:
    """The results that a smoke script printed, one JSON object a line; a line that is none is itself a failure."""
    results = []
    for line in text.splitlines():
        try:
            entry = parse_json(line, strict=True)
            # What no file can hold is refused here: half a character (by an escape), a number too large.
            json.dumps(entry, ensure_ascii=False, allow_nan=False).encode()
            outcome = Outcome(entry["outcome"])
            # Only the host can say that nothing could be decided; a script that says so has not passed.
            outcome = Outcome.FAILED if outcome is Outcome.ERROR else outcome
            results.append(Result(str(entry["check"]), outcome, str(entry["detail"]), dict(entry["measured"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            results.append(Result(PROTOCOL, Outcome.FAILED, f"not a result: {line[:200]}"))
    return results


def _request(
    digest: str,
    folder: Path,
    scenario: Scenario,
    environment: Mapping[str, str],
    devices: Sequence[DeviceRequest],
    cache: Path | None,
    script: str,
) -> Request:
    kept = (Mount(cache, CACHE, writable=True),) if cache else ()
    return Request(
        image=digest,
        command=("python3", "-B", f"{MOUNTED_AT}/{script}"),
        label=LABEL,
        memory=scenario.memory_gib * GIB,
        timeout_s=scenario.timeout_s,
        mounts=(Mount(folder, MOUNTED_AT), *kept),
        environment=environment,
        user=NOBODY if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}",  # who can remove what is kept
        working_dir=WRITABLE,
        devices=tuple(devices),
        tmpfs={WRITABLE: 4 * GIB},
        shm=GIB,
        pids=4096,
        init=True,
    )


def _explain(error: Exception) -> str:
    if isinstance(error, ImageNotFound):
        return f"the engine does not have the image: {error.explanation}"
    if isinstance(error, APIError):
        return f"the engine could not run the container: {error.explanation}"
    return f"the engine stopped answering: {type(error).__name__}"
