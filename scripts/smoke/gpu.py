"""The GPUs of this machine, which of them is the target, and how the engine hands it to a container."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

import pynvml
from docker.types import DeviceRequest
from packaging.version import InvalidVersion, Version

from scripts.engine import Engine
from scripts.errors import Undecided
from scripts.model import Cell

TIMEOUT_S = 60.0  # a driver answers within milliseconds, or, broken, never
_MEND = "see what `nvidia-smi` says, and mend the driver: a restart may be enough"


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver names it: its index and UUID on this machine, compute capability, and driver version.

    `trouble` says why nothing that it did would count: somebody else computes on it, or its memory has errors.
    """

    index: str
    uuid: str
    name: str
    compute: str
    driver: str
    trouble: str = ""


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
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        return [_describe(index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _describe(index: int, driver: str) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    uuid, name = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    return Gpu(str(index), str(uuid), str(name), f"{major}.{minor}", str(driver), _find_trouble(handle))


def _find_trouble(handle: object) -> str:
    """Why a GPU cannot be judged on. What a model does not count (errors, without ECC) is no trouble."""
    with suppress(pynvml.NVMLError_NotSupported):
        kinds = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        if errors := pynvml.nvmlDeviceGetTotalEccErrors(handle, *kinds):
            return f"its memory has had {errors} uncorrected errors since the driver was loaded"
    with suppress(pynvml.NVMLError_NotSupported):
        if users := sorted(process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)):
            return f"in use by process {', '.join(map(str, users[:5]))}"
    return ""


def find_target(cell: Cell) -> Gpu:
    """The first GPU of the cell's model that is free and sound, with a driver that is new enough.

    Raises Undecided that says what is there.
    """
    found = find_gpus()
    if not found:
        raise Undecided("this machine has no NVIDIA GPU", cell.id)
    fitting = [gpu for gpu in found if gpu.name == cell.target.name and gpu.compute == cell.target.compute]
    if not fitting:
        there = ", ".join(sorted({f"{gpu.name} ({gpu.compute})" for gpu in found}))
        raise Undecided(f"this machine has {there}, not {cell.target.name} ({cell.target.compute})", cell.id)
    floor = driver_floor(cell)
    if _version(fitting[0].driver) < _version(floor):
        raise Undecided(
            f"the driver is {fitting[0].driver}, and {floor} or newer is needed", cell.id, "install a newer driver"
        )
    if free := [gpu for gpu in fitting if not gpu.trouble]:
        return free[0]
    troubles = "; ".join(f"{gpu.name} {gpu.index}: {gpu.trouble}" for gpu in fitting)
    raise Undecided(f"no GPU can be judged on at {platform.node()}: {troubles}", cell.id, "free or mend it")


def driver_floor(cell: Cell) -> str:
    """The oldest driver that a cell is for: its target's, or its CUDA line's where that is newer."""
    return max(cell.target.driver, cell.cuda.driver if cell.cuda else "", key=_version)


def request_device(engine: Engine, gpu: Gpu) -> DeviceRequest:
    """How this engine is asked for the GPU: by CDI where it knows the device, else by NVIDIA's runtime.

    Raises Undecided for an engine that can do neither.
    """
    with engine.explaining():
        info = engine.client.info()
    device = f"nvidia.com/gpu={gpu.index}"
    known = {str(item.get("ID")) for item in info.get("DiscoveredDevices") or []}
    if device in known:
        return DeviceRequest(driver="cdi", device_ids=[device])
    if "nvidia" in (info.get("Runtimes") or {}):
        return DeviceRequest(driver="nvidia", device_ids=[gpu.uuid], capabilities=[["gpu"]])
    raise Undecided(
        f"the engine knows no device {device} and has no NVIDIA runtime",
        engine.host,
        "install the NVIDIA Container Toolkit (`nvidia-ctk cdi generate`), and use the host's engine",
    )


def _version(text: str) -> Version:
    """A driver's version; one that says nothing that could be read (`[N/A]`) is older than any floor."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")
