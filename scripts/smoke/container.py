"""One locked-down container, and what became of it. No network, no privileges, a read-only root, bounded in all."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest, LogConfig, Mount

from scripts.engine import Engine
from scripts.errors import Undecided
from scripts.matrix import Smoke
from scripts.model import Outcome, Result

LABEL = "io.hallmark.smoke"
GIB = 1 << 30
MOUNTED_AT = "/hallmark"
_SIGNALS = {134: "aborted (SIGABRT)", 135: "bus error", 137: "killed (SIGKILL)", 139: "segmentation fault"}


@dataclass(frozen=True)
class ContainerRun:
    """How a container ended: `results` are the script's own lines followed by the container's own, `log` is stderr."""

    results: tuple[Result, ...]
    log: str
    seconds: float


def run_container(
    engine: Engine,
    digest: str,
    folder: Path,
    smoke: Smoke,
    environment: Mapping[str, str],
    devices: Sequence[DeviceRequest] = (),
) -> ContainerRun:
    """Run `smoke.py` from `folder` in the image of this digest, within what `smoke` grants, with these GPUs alone.

    Whatever the image does becomes a result; only what the engine fails to do is an ERROR among them.
    """
    started = time.monotonic()
    container = None
    try:
        container = engine.client.containers.create(digest, **_options(folder, smoke, environment, devices))
        container.start()
        ending = _wait(container, smoke)
        stdout = container.logs(stdout=True, stderr=False).decode(errors="replace")
        log = container.logs(stdout=False, stderr=True).decode(errors="replace")
        results = (*parse_results(stdout), ending)
    except (DockerException, requests.RequestException) as error:
        results, log = (Result("container", Outcome.ERROR, _explain(error)),), ""
    finally:
        if container is not None:
            _remove(container)
    return ContainerRun(results, log, round(time.monotonic() - started, 1))


def parse_results(text: str) -> list[Result]:
    """The results that a smoke script printed, one JSON object a line; a line that is none is itself a failure."""
    results = []
    for line in text.splitlines():
        try:
            entry = json.loads(line, parse_constant=_refuse)
            # What no file can hold is refused here: half a character (by an escape), a number too large.
            json.dumps(entry, ensure_ascii=False, allow_nan=False).encode()
            outcome = Outcome(entry["outcome"])
            # Only the host can say that nothing could be decided; a script that says so has not passed.
            outcome = Outcome.FAILED if outcome is Outcome.ERROR else outcome
            results.append(Result(str(entry["check"]), outcome, str(entry["detail"]), dict(entry["measured"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            results.append(Result("protocol", Outcome.FAILED, f"not a result: {line[:200]}"))
    return results


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _options(
    folder: Path, smoke: Smoke, environment: Mapping[str, str], devices: Sequence[DeviceRequest]
) -> dict[str, Any]:
    memory = smoke.memory_gib * GIB
    return {
        "entrypoint": ["python3", "-B", f"{MOUNTED_AT}/smoke.py"],
        "command": [],
        "environment": dict(environment),
        "labels": {LABEL: "1"},
        "working_dir": "/tmp",  # noqa: S108  the container's own tmpfs
        "user": "65534:65534",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
        "pids_limit": 4096,
        "mem_limit": memory,
        "memswap_limit": memory,
        "shm_size": GIB,
        # Executable: torch.compile and Triton build and load libraries there.
        "tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=4g,mode=1777"},  # noqa: S108
        "device_requests": list(devices),
        "mounts": [Mount(MOUNTED_AT, str(folder), type="bind", read_only=True)],
        "log_config": LogConfig(type="json-file", config={"max-size": "50m"}),
    }


def _wait(container: Any, smoke: Smoke) -> Result:
    """Wait for the end, or bring it about; judge it by exit code, OOM flag and time."""
    try:
        code = int(container.wait(timeout=smoke.timeout_s)["StatusCode"])
    except requests.RequestException:
        container.reload()  # raises where it was the engine that went away
        if container.status == "running":
            container.kill()
            detail = f"did not end within {smoke.timeout_s} s and was killed"
            return Result("container", Outcome.FAILED, detail, {"timeout_s": smoke.timeout_s})
        code = int(container.attrs["State"]["ExitCode"])
    container.reload()
    measured = {"exit_code": code}
    # A child may be killed for memory while its parent ends with 0: the flag counts, whatever the exit code.
    if container.attrs["State"]["OOMKilled"]:
        detail = f"a process was killed for memory: it needs more than {smoke.memory_gib} GiB"
        return Result("container", Outcome.FAILED, detail, measured)
    if code != 0:
        return Result("container", Outcome.FAILED, f"exit code {code}: {_SIGNALS.get(code, 'an error')}", measured)
    return Result("container", Outcome.PASSED, "ended by itself with exit code 0", measured)


def _explain(error: Exception) -> str:
    if isinstance(error, ImageNotFound):
        return f"the engine does not have the image: {error.explanation}"
    if isinstance(error, APIError):
        return f"the engine could not run the container: {error.explanation}"
    return f"the engine stopped answering: {type(error).__name__}"


def _remove(container: Any) -> None:
    try:
        container.remove(force=True)
    except NotFound:
        pass
    except (DockerException, requests.RequestException) as error:
        raise Undecided(f"a container is left behind: {error}", container.name, "nox -s engine -- down") from error
