"""NVIDIA's management library in memory: GPUs as a test has them, and what they report while they are watched."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any, ClassVar

import pynvml

from scripts.smoke.gpu import Gpu


class FakeDriver:
    """NVIDIA's library as pynvml shows it: with these GPUs, or with an error in one of the calls.

    `xids` are what it reports to whoever waits for events, `slowed` NVML's bits of what holds the clocks down.
    """

    NVMLError = pynvml.NVMLError
    NVMLError_LibraryNotFound = pynvml.NVMLError_LibraryNotFound
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVMLError_Timeout = pynvml.NVMLError_Timeout
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    NVML_VOLATILE_ECC = pynvml.NVML_VOLATILE_ECC
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    nvmlEventTypeXidCriticalError = pynvml.nvmlEventTypeXidCriticalError  # noqa: N815
    errors = 0
    slowed = 0
    users: ClassVar[dict[str, list[int]]] = {}

    def __init__(self, *gpus: Gpu, fails_in: str = "", error: Exception | None = None) -> None:
        self.gpus, self.fails_in, self.error = gpus, fails_in, error
        self.calls: list[str] = []
        self.xids: SimpleQueue[int] = SimpleQueue()
        self.temperatures: list[int] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_in and self.error:
            raise self.error

    def nvmlInit(self) -> None:  # noqa: N802
        self._call("nvmlInit")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._call("nvmlShutdown")

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        self._call("nvmlSystemGetDriverVersion")
        return self.gpus[0].driver if self.gpus else "580.95.05"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._call("nvmlDeviceGetCount")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:  # noqa: N802
        self._call("nvmlDeviceGetHandleByIndex")
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, handle: Gpu) -> str:  # noqa: N802
        self._call("nvmlDeviceGetUUID")
        return handle.uuid

    def nvmlDeviceGetName(self, handle: Gpu) -> str:  # noqa: N802
        self._call("nvmlDeviceGetName")
        return handle.name

    def nvmlDeviceGetMemoryInfo(self, handle: Gpu) -> Any:  # noqa: N802
        self._call("nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(total=handle.memory)

    def nvmlDeviceGetTotalEccErrors(self, handle: Gpu, kind: int, since: int) -> int:  # noqa: N802
        self._call("nvmlDeviceGetTotalEccErrors")
        assert (kind, since) == (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        return self.errors

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Gpu) -> list[Any]:  # noqa: N802
        self._call("nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=pid) for pid in self.users.get(handle.index, [])]

    def nvmlDeviceGetCudaComputeCapability(self, handle: Gpu) -> list[int]:  # noqa: N802
        self._call("nvmlDeviceGetCudaComputeCapability")
        return [int(part) for part in handle.compute.split(".")]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Gpu) -> int:  # noqa: N802
        self._call("nvmlDeviceGetCurrentClocksEventReasons")
        return self.slowed

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Gpu:  # noqa: N802
        self._call("nvmlDeviceGetHandleByUUID")
        [found] = [gpu for gpu in self.gpus if gpu.uuid == uuid]
        return found

    def nvmlDeviceGetTemperature(self, handle: Gpu, sensor: int) -> int:  # noqa: N802
        self._call("nvmlDeviceGetTemperature")
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self.temperatures.pop(0) if self.temperatures else 40

    def nvmlEventSetCreate(self) -> object:  # noqa: N802
        self._call("nvmlEventSetCreate")
        return "events"

    def nvmlDeviceRegisterEvents(self, handle: Gpu, kinds: int, events: object) -> None:  # noqa: N802
        self._call("nvmlDeviceRegisterEvents")
        assert (kinds, events) == (pynvml.nvmlEventTypeXidCriticalError, "events")

    def nvmlEventSetWait_v2(self, events: object, milliseconds: int) -> Any:  # noqa: N802
        self._call("nvmlEventSetWait_v2")
        try:
            return SimpleNamespace(eventData=self.xids.get(timeout=0.001))
        except Empty:
            raise pynvml.NVMLError_Timeout from None

    def nvmlEventSetFree(self, events: object) -> None:  # noqa: N802
        self._call("nvmlEventSetFree")
