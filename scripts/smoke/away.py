"""GPUs of another machine, asked in containers there: the candidate's image, with our own program and pynvml in it.

What a GPU's watcher is named is the lock on that GPU: an engine has a name once, whoever asks it and from where.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pynvml
from docker.errors import APIError, NotFound
from docker.types import DeviceRequest, LogConfig, Mount

from scripts.console import note
from scripts.engine import Engine
from scripts.engine.client import FAILURES
from scripts.engine.remote import RemoteEngine
from scripts.engine.sandbox import NAME, NOBODY
from scripts.errors import Undecided
from scripts.files import parse_json
from scripts.smoke import nvml
from scripts.smoke.gpu import TIMEOUT_S, Gpu, request_all, request_device

AT = "/hallmark"
LABEL = "io.hallmark.gpu"
GIB = 1 << 30
MARGIN_S = 1200  # a watcher that nobody ends does so itself, this long after the run that it is for must have ended
POLL_S = 2.0
STARTING_S = 60.0  # a container that was made and not started for so long belongs to nobody any more
_CONFLICT = 409


def find_gpus_there(engine: Engine, digest: str) -> list[Gpu]:
    """The GPUs that an engine on another machine can hand out, asked in the image of this digest, which it has.

    Raises Undecided, naming it, where it can hand out none, or the driver there fails.
    """
    said = _look(engine, digest, [request_all(engine)])
    if said["error"]:
        mend = "see what `nvidia-smi` says there, and mend the driver: a restart may be enough"
        raise Undecided(f"the NVIDIA driver fails: {said['error']}", engine.host, mend)
    try:
        return [Gpu(**facts) for facts in said["gpus"]]
    except TypeError as error:
        raise _untold(engine, str(error)) from error


def describe_there(engine: Engine, digest: str) -> dict[str, str]:
    """The processors and the kernel of an engine's machine, asked once, in an image that it has. Raises Undecided."""
    assert isinstance(engine, RemoteEngine)
    if not engine.facts:
        with engine.explaining():
            info = engine.client.info()
        model = _look(engine, digest, [])["cpu"]
        engine.facts.update(cpu=f"{info.get('NCPU')} × {model}", kernel=str(info.get("KernelVersion")))
    return dict(engine.facts)


class Watcher:
    """A container that watches one GPU of another machine, from its making until `end`."""

    def __init__(self, engine: Engine, digest: str, gpu: Gpu, limit_s: float) -> None:
        """`limit_s` is how long the run may take that is watched. Raises Undecided where nothing can be watched.

        Another run's watch on the GPU is waited for.
        """
        self._engine = engine
        arguments = [nvml.WATCH, gpu.uuid, str(int(limit_s) + MARGIN_S)]
        device = request_device(engine, gpu)
        with engine.explaining():
            self._container = _take_name(engine, digest, f"{NAME}gpu-{gpu.uuid}", arguments, device, gpu)
            try:
                self._container.start()
            except BaseException:
                _remove(self._container)
                raise

    def end(self) -> dict[str, Any]:
        """What was seen, as the fields of a `Sighting`. Where nobody can tell any more, that is a fault."""
        container = self._container
        try:
            container.kill(signal="SIGTERM")  # refused where it has ended already: then part was not watched
            container.wait(timeout=TIMEOUT_S + nvml.END_S)
            facts = _read(container, {"xids", "slowed", "celsius", "fault", "untold"})
            return facts | {
                "xids": {int(xid): int(count) for xid, count in facts["xids"].items()},
                "slowed": tuple(map(str, facts["slowed"])),
            }
        except (*FAILURES, ValueError, TypeError, AttributeError) as error:
            return {"xids": {}, "fault": f"its watch is lost ({type(error).__name__})"}
        finally:
            _remove(container)


def _take_name(
    engine: Engine, digest: str, name: str, arguments: Sequence[str], device: DeviceRequest, gpu: Gpu
) -> Any:
    """The container of this name, made and not started, once nobody else has one."""
    said, since = False, time.monotonic()
    while True:
        with suppress(NotFound):
            holder = engine.client.containers.get(name)
            if holder.status not in ("created", "running") or (
                holder.status == "created" and time.monotonic() - since > STARTING_S
            ):
                _remove(holder)
                continue
            if not said:
                note(f"waiting for another machine's test on {gpu.name} {gpu.index} of {engine.host} to end")
                said = True
            time.sleep(POLL_S)
            continue
        try:
            with _program() as folder:
                return engine.client.containers.create(digest, name=name, **_options(folder, arguments, [device]))
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise
        since = time.monotonic()


def _look(engine: Engine, digest: str, devices: Sequence[DeviceRequest]) -> dict[str, Any]:
    """What the program says when it is to look."""
    with engine.explaining():
        with _program() as folder:
            # With the machine's own process ids: the driver tells of no others than a container can see.
            options = _options(folder, [nvml.LOOK], devices) | {"pid_mode": "host"}
            name = f"{NAME}{secrets.token_hex(8)}"
            try:
                container = engine.client.containers.create(digest, name=name, **options)
            except BaseException:
                with suppress(*FAILURES):
                    _remove(engine.client.containers.get(name))
                raise
        try:
            container.start()
            container.wait(timeout=TIMEOUT_S)
            return _read(container, {"cpu", "gpus", "error"})
        except (ValueError, TypeError) as error:
            raise _untold(engine, str(error)) from error
        finally:
            _remove(container)


def _options(folder: Path, arguments: Sequence[str], devices: Sequence[DeviceRequest]) -> dict[str, Any]:
    """A container that can do nothing but ask the driver: as locked down as those that candidates are tested in."""
    return {
        "entrypoint": ["python3", "-B", f"{AT}/nvml.py", *arguments],
        "command": [],
        "environment": {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"},
        "labels": {LABEL: "1"},
        "healthcheck": {"test": ["NONE"]},
        "user": NOBODY,
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": 64,
        "mem_limit": GIB,
        "memswap_limit": GIB,
        "device_requests": list(devices),
        "mounts": [Mount(AT, str(folder), type="bind", read_only=True)],
        "log_config": LogConfig(type="json-file", config={"max-size": "1m"}),
    }


@contextmanager
def _program() -> Iterator[Path]:
    """A folder with the program and what it imports, for any user to read."""
    with TemporaryDirectory(prefix="hallmark-") as name:
        folder = Path(name)
        for source in (nvml.__file__, pynvml.__file__):
            copy = folder / Path(source).name
            shutil.copyfile(source, copy)
            copy.chmod(0o644)
        folder.chmod(0o755)
        yield folder


def _read(container: Any, keys: set[str]) -> dict[str, Any]:
    """What the program printed. Raises ValueError or TypeError for what it cannot have printed."""
    printed = bytes(container.logs(stdout=True, stderr=False)).decode(errors="replace").strip()
    if not printed:
        said = bytes(container.logs(stdout=False, stderr=True)).decode(errors="replace").strip().splitlines()
        raise ValueError(said[-1] if said else "it said nothing")
    facts = parse_json(printed)
    if not isinstance(facts, dict) or set(facts) != keys:
        raise ValueError("it said something else")
    return facts


def _untold(engine: Engine, why: str) -> Undecided:
    cause = f"the machine did not say what it has: {why}"
    return Undecided(cause, engine.host, "see that a container can use the GPU there: `docker run --gpus all`")


def _remove(container: Any) -> None:
    with suppress(*FAILURES):
        container.remove(force=True, v=True)
