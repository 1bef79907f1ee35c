"""What NVIDIA's management library says of GPUs: here, or in a container on the machine that has them.

There it is run as a program, beside a copy of pynvml: it needs that and the standard library alone.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pynvml

POLL_MS = 500
END_S = 30.0  # a driver answers within milliseconds, or, broken, never
LOOK, WATCH = "look", "watch"  # what the program can be told to do

# NVML's bits of what holds clocks down, those that say that something is wrong.
SLOWDOWNS = {
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "too hot",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "too little power",
}


def list_gpus() -> list[dict[str, Any]]:
    """The GPUs that the driver shows, each as the fields of a `Gpu`; none where there is no driver.

    Raises what the library does where that fails.
    """
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


def _describe(index: int, driver: str) -> dict[str, Any]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "index": str(index),
        "uuid": str(pynvml.nvmlDeviceGetUUID(handle)),
        "name": str(pynvml.nvmlDeviceGetName(handle)),
        "compute": f"{major}.{minor}",
        "driver": str(driver),
        "trouble": _find_trouble(handle),
        "memory": _read_memory(handle),
    }


def _read_memory(handle: object) -> int:
    with suppress(pynvml.NVMLError_NotSupported):  # a GPU that shares the processor's memory has none of its own
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    return 0


def _find_trouble(handle: object) -> str:
    """Why a GPU cannot be judged on."""
    if faults := find_faults(handle):
        return faults
    if slowed := find_slowdowns(handle):
        return f"slowed down: {', '.join(slowed)}"
    with suppress(pynvml.NVMLError_NotSupported):
        if users := sorted(process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)):
            return f"in use by process {', '.join(map(str, users[:5]))}"
    return ""


def find_faults(handle: object) -> str:
    """What is wrong with a GPU's memory. What a model does not count (errors, without ECC) is no fault."""
    with suppress(pynvml.NVMLError_NotSupported):
        kinds = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        if errors := pynvml.nvmlDeviceGetTotalEccErrors(handle, *kinds):
            return f"its memory has had {errors} uncorrected errors since the driver was loaded"
    return ""


def find_slowdowns(handle: object) -> tuple[str, ...]:
    """Why the hardware holds a GPU's clocks down just now, other than for want of work or by its ordinary limit."""
    with suppress(pynvml.NVMLError_NotSupported):
        reasons = pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        return tuple(words for bit, words in SLOWDOWNS.items() if reasons & bit)
    return ()


class Record:
    """What is seen of one GPU from its making until `end`, in a thread that nobody has to wait for."""

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid
        self._over = Event()
        self._xids: Counter[int] = Counter()
        self._slowed: dict[str, None] = {}
        self._celsius = 0
        self._untold = ""
        self._fault = ""
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self, patience_s: float) -> dict[str, Any]:
        """What was seen until now, as the fields of a `Sighting`. A driver that no longer answers is a fault."""
        self._over.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self._fault = f"the driver does not answer within {patience_s:.0f} s"
        return {
            "xids": dict(self._xids),
            "slowed": tuple(self._slowed),
            "celsius": self._celsius,
            "fault": self._fault,
            "untold": self._untold,
        }

    def _look(self) -> None:
        try:
            pynvml.nvmlInit()
            try:
                handle = pynvml.nvmlDeviceGetHandleByUUID(self._uuid)
                self._listen(handle)
                self._fault = find_faults(handle)
            finally:
                with suppress(pynvml.NVMLError):
                    pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            self._fault = f"the driver fails: {error}"

    def _listen(self, handle: object) -> None:
        events = pynvml.nvmlEventSetCreate()
        try:
            try:
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
            except pynvml.NVMLError as error:  # some models and virtual machines have no events
                self._untold = str(error)
            while not self._over.is_set():
                self._sample(handle)
                self._wait(events)
            self._sample(handle)
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(events)

    def _wait(self, events: object) -> None:
        if self._untold:
            self._over.wait(POLL_MS / 1000)
            return
        try:
            self._xids[int(pynvml.nvmlEventSetWait_v2(events, POLL_MS).eventData)] += 1
        except pynvml.NVMLError_Timeout:
            pass
        except pynvml.NVMLError as error:  # a GPU that is lost fails the next question, too
            self._untold = str(error)

    def _sample(self, handle: object) -> None:
        self._slowed |= dict.fromkeys(find_slowdowns(handle))
        with suppress(pynvml.NVMLError_NotSupported):
            now = pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
            self._celsius = max(self._celsius, int(now))


def cpu_model() -> str:
    """The processors' name, as the kernel has it."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def main(arguments: list[str]) -> int:
    """Print one JSON object: the processors' name and the GPUs (`look`), or what is seen of one (`watch UUID SECONDS`).

    The latter until the program is told to end (SIGTERM), or its time is over.
    """
    said: dict[str, Any]
    if arguments[0] == LOOK:
        said = {"cpu": cpu_model(), "gpus": [], "error": ""}
        try:
            said["gpus"] = list_gpus()
        except pynvml.NVMLError as error:
            said["error"] = str(error)
    else:
        # Before there is a second thread: it must not be the one that the signal ends.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        record = Record(arguments[1])
        signal.sigtimedwait({signal.SIGTERM}, float(arguments[2]))
        said = record.end(END_S)
    print(json.dumps(said), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
