"""The memory of the one GPU that a container sees, as its driver counts it. Standard library only, as `probe`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from probe import Failed, require

LIBRARY = "libnvidia-ml.so.1"
MIB, GIB = 1 << 20, 1 << 30


class _Counts(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = tuple((name, ctypes.c_ulonglong) for name in ("total", "free", "used"))


@dataclass(frozen=True)
class Memory:
    """A GPU's memory in bytes, whoever uses it."""

    total: int
    free: int
    used: int


def read_memory() -> Memory:
    """The memory of GPU 0. Raises Failed where the driver's library is not there or does not say."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise Failed(f"memory could not be read: the container has no {LIBRARY}: {error}") from error
    counts, handle = _Counts(), ctypes.c_void_p()
    calls = (
        ("nvmlInit_v2",),
        ("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(0), ctypes.byref(handle)),
        ("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(counts)),
    )
    for name, *arguments in calls:
        code = getattr(library, name)(*arguments)
        require(code == 0, f"memory could not be read: {name} returned {code}")
    library.nvmlShutdown()
    return Memory(counts.total, counts.free, counts.used)
