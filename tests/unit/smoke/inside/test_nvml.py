from __future__ import annotations

import ctypes
from typing import Any

import nvml
import pytest
from probe import Failed

MIB = 1 << 20


class Nvml:
    """In place of NVIDIA's management library: GPUs with so much memory in use; `failing` is a call that fails."""

    def __init__(self, *used: int, failing: str = "") -> None:
        self.used, self.failing = used, failing
        self.ended = False

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "nvmlShutdown":
                self.ended = True
            elif name == "nvmlDeviceGetCount_v2":
                arguments[0]._obj.value = len(self.used)
            elif name == "nvmlDeviceGetHandleByIndex_v2":
                arguments[1]._obj.value = arguments[0] + 1
            elif name == "nvmlDeviceGetMemoryInfo":
                arguments[1]._obj.used = self.used[arguments[0].value - 1]
            return 999 if name == self.failing else 0

        return call


def use(monkeypatch: pytest.MonkeyPatch, library: Nvml) -> None:
    def load(name: str) -> Nvml:
        assert name == "libnvidia-ml.so.1"
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)


def test_the_memory_of_all_gpus_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Nvml(3 * MIB, 5 * MIB)
    use(monkeypatch, library)
    assert nvml.used_mib() == 8.0 and library.ended


@pytest.mark.parametrize(
    "call", ["nvmlInit_v2", "nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetMemoryInfo"]
)
def test_what_cannot_be_told_fails(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Nvml(MIB, failing=call))
    with pytest.raises(Failed, match=f"{call.removesuffix('_v2')} ends with 999"):
        nvml.used_mib()


def test_without_the_library_it_fails() -> None:
    with pytest.raises(Failed, match="cannot be told: libnvidia-ml"):
        nvml.used_mib()
