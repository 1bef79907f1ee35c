"""How much of the visible GPUs' memory is in use, by NVIDIA's management library. Standard library only, as `probe`."""

from __future__ import annotations

import ctypes

from probe import Failed


class _Memory(ctypes.Structure):
    """nvmlMemory_t: bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def used_mib() -> float:
    """The memory in use on all GPUs in reach, in MiB, whoever uses it. Raises Failed where it cannot be told."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        raise Failed(f"the memory of the GPU cannot be told: {error}") from error
    count, memory, device = ctypes.c_uint(), _Memory(), ctypes.c_void_p()
    total = 0
    _require(nvml.nvmlInit_v2(), "nvmlInit")
    try:
        _require(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)), "nvmlDeviceGetCount")
        for place in range(count.value):
            _require(nvml.nvmlDeviceGetHandleByIndex_v2(place, ctypes.byref(device)), "nvmlDeviceGetHandleByIndex")
            _require(nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)), "nvmlDeviceGetMemoryInfo")
            total += memory.used
    finally:
        nvml.nvmlShutdown()
    return round(total / (1 << 20), 1)


def _require(status: int, what: str) -> None:
    if status:
        raise Failed(f"the memory of the GPU cannot be told: {what} ends with {status}")
