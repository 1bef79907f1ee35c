"""The GPUs of this machine, which of them is the target, and how the engine hands it to a container."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pynvml
from docker.types import DeviceRequest
from packaging.version import InvalidVersion, Version

from scripts.engine import Engine
from scripts.errors import Undecided
from scripts.locks import hold_one
from scripts.model import Cell
from scripts.smoke import nvml

TIMEOUT_S = 60.0  # a driver answers within milliseconds, or, broken, never
HERE = "this machine"
_MEND = "see what `nvidia-smi` says, and mend the driver: a restart may be enough"


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver names it: its index and UUID on this machine, compute capability, and driver version.

    `memory` is all that it has, in bytes; 0 where the driver does not say.
    `trouble` says why nothing that it did would count: somebody else computes on it, its memory has errors, or it is
    slowed down by heat or for want of power.
    """

    index: str
    uuid: str
    name: str
    compute: str
    driver: str
    trouble: str = ""
    memory: int = 0


def find_gpus() -> list[Gpu]:
    """The GPUs that the driver of this machine shows; none where there is no driver. Raises Undecided if it fails."""
    found: list[list[Gpu] | Exception] = []
    # In a thread that nobody has to wait for: a call into a broken driver may never return.
    thread = Thread(target=_keep, args=(_ask_driver, found), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    if not found:
        raise Undecided(f"the NVIDIA driver does not answer within {TIMEOUT_S:.0f} s", "NVIDIA driver", _MEND)
    answer = found[0]
    if isinstance(answer, pynvml.NVMLError):
        raise Undecided(f"the NVIDIA driver fails: {answer}", "NVIDIA driver", _MEND) from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def _keep(ask: Callable[[], list[Gpu]], found: list[list[Gpu] | Exception]) -> None:
    try:
        found.append(ask())
    except Exception as error:
        found.append(error)


def _ask_driver() -> list[Gpu]:
    return [Gpu(**facts) for facts in nvml.list_gpus()]


def choose_targets(cell: Cell, shown: Sequence[Gpu], host: str = HERE) -> tuple[Gpu, ...]:
    """Those of a host's GPUs that are the cell's model, with a driver that is new enough. Raises Undecided for none."""
    if not shown:
        raise Undecided(f"{host} has no NVIDIA GPU", cell.id, f"use a machine with {cell.target.name}")
    fitting = tuple(gpu for gpu in shown if gpu.name == cell.target.name and gpu.compute == cell.target.compute)
    if not fitting:
        there = ", ".join(sorted({f"{gpu.name} ({gpu.compute})" for gpu in shown}))
        cause = f"{host} has {there}, not {cell.target.name} ({cell.target.compute})"
        raise Undecided(cause, cell.id, "use a machine that has it, or choose a cell for what is here")
    if not is_driver_enough(cell, fitting[0].driver):
        whose = "" if host == HERE else f" of {host}"
        cause = f"the driver{whose} is {fitting[0].driver}, and {driver_floor(cell)} or newer is needed"
        raise Undecided(cause, cell.id, "install a newer driver")
    return fitting


@contextmanager
def hold_targets(
    cell: Cell, look: Callable[[], list[Gpu]], locks: Path, most: int | None = None, host: str = HERE
) -> Iterator[tuple[Gpu, ...]]:
    """Hold the GPUs that a cell is for, that nobody else uses and that are sound, or so many of them, for the block.

    Other runs of this project are waited for where they hold all that could do; another program's use is not. `locks`
    is a folder that all of a user's runs on this machine share, `host` what the machine with the GPUs is called.
    Raises Undecided where there is none to be had.
    """
    fitting = choose_targets(cell, look(), host)
    with ExitStack() as stack:
        held: list[Gpu] = []
        others: list[Gpu] = []
        # Those in trouble last: they may be in use by whoever holds them, and of those that are not, some may do.
        for gpu in sorted(fitting, key=lambda gpu: bool(gpu.trouble)):
            if most is None or len(held) < most:
                (held if _try_to_hold(gpu, locks, stack) else others).append(gpu)
        now = _ask_anew(look, held)
        if others and all(gpu.trouble for gpu in now):
            now = _ask_anew(look, [stack.enter_context(_hold_first(others, locks))])
        free = tuple(gpu for gpu in now if not gpu.trouble)
        if not free:
            troubles = "; ".join(f"{gpu.name} {gpu.index}: {gpu.trouble}" for gpu in now) or "they are gone"
            raise Undecided(
                f"no GPU can be judged on at {platform.node() if host == HERE else host}: {troubles}",
                cell.id,
                "free or mend it",
            )
        yield free


def _ask_anew(look: Callable[[], list[Gpu]], held: Sequence[Gpu]) -> list[Gpu]:
    """Those that are held as they are now: what another run had on them when they were first asked is gone."""
    uuids = {gpu.uuid for gpu in held}
    return [gpu for gpu in look() if gpu.uuid in uuids] if held else []


def _try_to_hold(gpu: Gpu, locks: Path, stack: ExitStack) -> bool:
    try:
        stack.enter_context(_hold_first([gpu], locks, patience_s=0))
    except Undecided:
        return False
    return True


@contextmanager
def _hold_first(gpus: Sequence[Gpu], locks: Path, patience_s: float = math.inf) -> Iterator[Gpu]:
    """Hold whichever is free first."""
    files = {locks / f"{gpu.uuid}.lock": gpu for gpu in gpus}
    holder = f"another run's test on {gpus[0].name} {' or '.join(gpu.index for gpu in gpus)}"
    with hold_one(list(files), holder, patience_s=patience_s) as file:
        yield files[file]


def driver_floor(cell: Cell) -> str:
    """The oldest driver that a cell is for: its target's, or its CUDA line's where that is newer."""
    return max(cell.target.driver, cell.cuda.driver if cell.cuda else "", key=_version)


def is_driver_enough(cell: Cell, driver: str) -> bool:
    """Whether a driver is as new as a cell needs it."""
    return _version(driver) >= _version(driver_floor(cell))


def request_device(engine: Engine, gpu: Gpu) -> DeviceRequest:
    """How this engine is asked for the GPU: by CDI where it knows the device, else by NVIDIA's runtime.

    Raises Undecided for an engine that can do neither.
    """
    return _request(engine, f"nvidia.com/gpu={gpu.index}", device_ids=[gpu.uuid])


def request_all(engine: Engine) -> DeviceRequest:
    """How this engine is asked for all of its GPUs. Raises Undecided for one that can hand out none."""
    return _request(engine, "nvidia.com/gpu=all", count=-1)


def _request(engine: Engine, device: str, **by_runtime: Any) -> DeviceRequest:
    with engine.explaining():
        info = engine.client.info()
        known = {str(item.get("ID")) for item in info.get("DiscoveredDevices") or []}
        has_runtime = "nvidia" in (info.get("Runtimes") or {})
    if device in known:
        return DeviceRequest(driver="cdi", device_ids=[device])
    if has_runtime:
        return DeviceRequest(driver="nvidia", capabilities=[["gpu"]], **by_runtime)
    use = "" if engine.away else ", and use the host's engine"
    raise Undecided(
        f"the engine knows no device {device} and has no NVIDIA runtime",
        engine.host,
        f"install the NVIDIA Container Toolkit (`nvidia-ctk cdi generate`){use}",
    )


def _version(text: str) -> Version:
    """A driver's version; one that says nothing that could be read (`[N/A]`) is older than any floor."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")
