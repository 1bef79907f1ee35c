"""The GPUs of this machine, which of them is the target, and how the engine hands it to a container."""

from __future__ import annotations

import csv
import re
import subprocess
from dataclasses import dataclass

from docker.types import DeviceRequest

from scripts.engine import Engine
from scripts.errors import Undecided
from scripts.model import Cell, Target

_FIELDS = ("index", "uuid", "name", "compute_cap", "driver_version")
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver names it: its index and UUID on this machine, compute capability, and driver version."""

    index: str
    uuid: str
    name: str
    compute: str
    driver: str


def find_gpus() -> list[Gpu]:
    """The GPUs that the driver of this machine shows; none where there is no driver. Raises Undecided if it fails."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except FileNotFoundError:
        return []
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Undecided(f"the NVIDIA driver does not answer: {error}", "nvidia-smi", "mend the driver") from error
    if run.returncode != 0:
        cause = f"exit code {run.returncode}: {(run.stderr or run.stdout).strip()}"
        raise Undecided(cause, "nvidia-smi", "mend the driver") from None
    rows = csv.reader(run.stdout.splitlines(), skipinitialspace=True)
    return [Gpu(*(field.strip() for field in row)) for row in rows if len(row) == len(_FIELDS)]


def find_target(cell: Cell) -> Gpu:
    """The first GPU of the cell's model, with a driver that is new enough. Raises Undecided that says what is there."""
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
    return fitting[0]


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


def name_target(target: Target) -> str:
    """The target for people: `NVIDIA GeForce RTX 5090 (compute capability 12.0)`."""
    return f"{target.name} (compute capability {target.compute})"


def _version(text: str) -> tuple[int, ...]:
    # What a driver fails to say (`[N/A]`) has no digits, and is older than any floor.
    return tuple(map(int, re.findall(r"[0-9]+", text)))
