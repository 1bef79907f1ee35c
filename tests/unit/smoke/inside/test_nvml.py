from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest
from nvml import Memory, read_memory
from probe import Failed


class Library:
    """NVIDIA's management library, of which one call may fail."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "nvmlDeviceGetMemoryInfo":
                counts = arguments[1]._obj
                counts.total, counts.free, counts.used = 32, 20, 12
            return 999 if name == self.failing else 0

        return call


def test_memory_is_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert read_memory() == Memory(32, 20, 12)


@pytest.mark.parametrize("name", ["nvmlInit_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_fails_gives_no_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library(name))
    with pytest.raises(Failed, match=f"{name} returned 999"):
        read_memory()


def test_a_container_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> SimpleNamespace:
        raise OSError("no such file")

    monkeypatch.setattr(ctypes, "CDLL", load)
    with pytest.raises(Failed, match=r"no libnvidia-ml\.so\.1"):
        read_memory()
