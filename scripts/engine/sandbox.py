"""One locked-down container, for whoever runs something inside an image: it is always removed, and bounded in all.

No network, no capabilities beyond those asked for, no new privileges, a read-only root. None of that can be asked for
otherwise: a request has no words for it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import docker.types
import requests
from docker.errors import APIError, NotFound

from scripts.answers import bounded
from scripts.console import note
from scripts.engine.client import FAILURES, STREAM, naming_nonsense
from scripts.engine.engine import Engine
from scripts.errors import Undecided

NAME = "hallmark-"  # what the name of each container begins with
NOBODY = "65534:65534"
KILL_S = 60  # a killed container has ended within this
ABANDONED_S = 3600
TMPFS = "rw,exec,nosuid,nodev,mode=1777"  # executable: torch.compile and Triton build and load libraries there

OnLine = Callable[[bytes], None]


@dataclass(frozen=True)
class Mount:
    """A file or folder of the engine's machine, to be seen in the container at `target`."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Request:
    """What is to run, in which image (by digest), with what in reach, and within which bounds. Sizes are in bytes.

    `label` is put on the container. `tmpfs` are folders of the container that it may write to, with their sizes; one
    that the image has keeps its owner and mode. `log_size` bounds what is kept of the output: of more than that, the
    beginning is lost.
    """

    image: str
    command: tuple[str, ...]
    label: str
    memory: int
    timeout_s: float
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = NOBODY
    working_dir: str = "/"
    capabilities: tuple[str, ...] = ()
    devices: tuple[docker.types.DeviceRequest, ...] = ()
    tmpfs: Mapping[str, int] = field(default_factory=dict)
    shm: int = 64 << 20
    pids: int = 256
    log_size: int = 50 << 20
    init: bool = False  # a first process that reaps the children of the command


@dataclass(frozen=True)
class Ending:
    """How a container ended. `oom`: something in it was killed for memory, whatever its exit code says."""

    exit_code: int
    oom: bool
    timed_out: bool
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def succeeded(self) -> bool:
        """It ended by itself with exit code 0, and lost no process to the limit of memory."""
        return self.exit_code == 0 and not self.oom and not self.timed_out


class Sandbox:
    """A container that was made and not started yet; see `open_sandbox`."""

    def __init__(self, container: Any, request: Request) -> None:
        self._container = container
        self._request = request

    def run(self, on_line: OnLine | None = None) -> Ending:
        """Start the container, wait for its end, or bring it about when its time is over.

        `on_line` is handed each line of stdout once, without its end, in this thread and while the container runs.
        Raises what the SDK raises where the engine fails.
        """
        container, started = self._container, time.monotonic()
        deadline = started + self._request.timeout_s
        with naming_nonsense():
            container.start()
        told = self._follow(on_line, deadline) if on_line else 0
        with naming_nonsense():
            timed_out = self._wait(deadline)
            container.reload()
            state = container.attrs["State"]
            exit_code, oom = int(state["ExitCode"]), bool(state["OOMKilled"])
            stdout, stderr = (bytes(container.logs(stdout=out, stderr=not out)) for out in (True, False))
        if on_line:
            lines = stdout.removesuffix(b"\n").split(b"\n") if stdout else []
            for line in lines[told:]:
                on_line(line.removesuffix(b"\r"))
        return Ending(exit_code, oom, timed_out, stdout, stderr, round(time.monotonic() - started, 1))

    def _follow(self, on_line: OnLine, deadline: float) -> int:
        """Hand on lines as they come, until there are no more or the time is over; returns how many.

        What stops the stream early is found again by whoever waits for the container, or its lines are handed on then.
        """
        lines: Queue[bytes | None] = Queue()
        Thread(target=self._read_lines, args=(lines.put,), daemon=True).start()
        told = 0
        with suppress(Empty):
            while (left := deadline - time.monotonic()) > 0 and (line := lines.get(timeout=left)) is not None:
                on_line(line)
                told += 1
        return told

    def _read_lines(self, put: Callable[[bytes | None], None]) -> None:
        """Put the whole lines of stdout as they come, and None after the last; no more of them than the log holds."""
        rest, size = b"", 0
        try:
            with naming_nonsense():
                with bounded(STREAM):
                    chunks = self._container.logs(stdout=True, stderr=False, stream=True, follow=True)
                for chunk in chunks:
                    size += len(chunk)
                    if size > self._request.log_size:
                        return
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        put(line.removesuffix(b"\r"))
        except FAILURES:
            return
        finally:
            put(None)

    def _wait(self, deadline: float) -> bool:
        """Wait for the end; returns whether it had to be brought about."""
        container = self._container
        try:
            container.wait(timeout=max(1.0, deadline - time.monotonic()))
            return False
        except requests.RequestException:
            container.reload()  # raises where it was the engine that went away
            if container.status != "running":
                return False
        with suppress(APIError):  # it has ended just now
            container.kill()
        container.wait(timeout=KILL_S)
        return True


@contextmanager
def open_sandbox(engine: Engine, request: Request) -> Iterator[Sandbox]:
    """Make a container, and remove it with its volumes when the block ends, however it does.

    What the engine fails to do is raised as the SDK raises it. Raises Undecided where a container is left behind, and
    in a thread whose container was ended from another (`Engine.end_containers`).
    """
    name = f"{NAME}{secrets.token_hex(8)}"
    try:
        with naming_nonsense():
            container = engine.client.containers.create(request.image, name=name, **_options(request))
    except BaseException:
        # The engine may have made it before the answer was lost, or nobody waited for it any more.
        with suppress(*FAILURES), naming_nonsense():
            engine.client.containers.get(name).remove(force=True, v=True)
        raise
    try:
        with engine.tending(container):
            yield Sandbox(container, request)
    except Exception:
        _remove(container, name)
        raise
    except BaseException:
        try:
            _remove(container, name)
        except Undecided as left:
            note(str(left))  # the interruption is what ends the run
        raise
    else:
        _remove(container, name)


def remove_abandoned(engine: Engine) -> None:
    """Remove containers of runs that were killed: they have ended, and nobody who reads them has come for an hour.

    Raises Undecided where the engine fails.
    """
    with engine.explaining():
        for container in engine.client.containers.list(all=True, filters={"name": f"^/?{NAME}", "status": "exited"}):
            ended = datetime.fromisoformat(str(container.attrs["State"]["FinishedAt"])[:19]).replace(tzinfo=UTC)
            if time.time() - ended.timestamp() > ABANDONED_S:
                container.remove(force=True, v=True)


def _options(request: Request) -> dict[str, Any]:
    """The request in the words of the SDK."""
    bind = [
        docker.types.Mount(mount.target, str(mount.source.resolve()), type="bind", read_only=not mount.writable)
        for mount in request.mounts
    ]
    return {
        "entrypoint": list(request.command),
        "command": [],
        "environment": dict(request.environment),
        "labels": {request.label: "1"},
        "healthcheck": {"test": ["NONE"]},
        "working_dir": request.working_dir,
        "user": request.user,
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "cap_add": list(request.capabilities),
        "security_opt": ["no-new-privileges"],
        "init": request.init,
        "pids_limit": request.pids,
        "mem_limit": request.memory,
        "memswap_limit": request.memory,
        "shm_size": request.shm,
        "tmpfs": {path: f"{TMPFS},size={size}" for path, size in request.tmpfs.items()},
        "device_requests": list(request.devices),
        "mounts": bind,
        "log_config": docker.types.LogConfig(type="json-file", config={"max-size": str(request.log_size)}),
    }


def _remove(container: Any, name: str) -> None:
    try:
        with naming_nonsense():
            container.remove(force=True, v=True)
    except NotFound:
        pass
    except FAILURES as error:
        raise Undecided(f"a container is left behind: {error}", name, "nox -s engine -- down") from error
