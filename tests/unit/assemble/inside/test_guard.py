"""The guard against a scripted libcuda: what fits is passed, and what does not is told in one line."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import pytest

from scripts.assemble.inside import guard

IMAGE = {"compute": "12.0", "cuda": "12.8", "driver": "570.124.06"}
FIVE, SIX = ("NVIDIA GeForce RTX 5090", "12.0"), ("NVIDIA RTX PRO 6000", "12.0")
HOPPER = ("NVIDIA H200", "9.0")
NO_DEVICE = 100


class Cuda:
    """In place of libcuda: a driver whose newest CUDA is `version`, with these GPUs, or an error at its start."""

    def __init__(self, gpus: Sequence[tuple[str, str]] = (FIVE,), version: int = 12080, status: int = 0) -> None:
        self.gpus, self.version, self.status = gpus, version, status

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802 (as the driver has it)
        version._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device: Any, place: int) -> int:  # noqa: N802
        device._obj.value = place
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self.gpus[device.value][0].encode()
        return 0

    def cuDeviceGetAttribute(self, number: Any, attribute: int, device: Any) -> int:  # noqa: N802
        major, minor = self.gpus[device.value][1].split(".")
        number._obj.value = int({75: major, 76: minor}[attribute])
        return 0


def judge(monkeypatch: pytest.MonkeyPatch, cuda: Cuda | Exception) -> tuple[str, bool]:
    def load(name: str) -> Cuda:
        assert name == "libcuda.so.1"
        if isinstance(cuda, Exception):
            raise cuda
        return cuda

    monkeypatch.setattr(ctypes, "CDLL", load)
    return guard.judge(IMAGE, guard.find_gpus())


@pytest.mark.parametrize("cuda", [Cuda(), Cuda([FIVE, SIX], 13000)])
def test_the_right_gpu_is_passed_without_a_word(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(monkeypatch, cuda) == ("", False)


@pytest.mark.parametrize(
    ("cuda", "words", "refused"),
    [
        (Cuda([HOPPER]), "capability 12.0 and CUDA 12.8, and NVIDIA H200 (GPU 0) has 9.0", True),
        (Cuda([HOPPER, HOPPER]), "NVIDIA H200 (GPU 0) has 9.0, NVIDIA H200 (GPU 1) has 9.0", True),
        (Cuda([FIVE, HOPPER]), "CUDA 12.8, and NVIDIA H200 (GPU 1) has 9.0", False),
        (Cuda(version=12070), "the driver's ends at 12.7: install driver 570.124.06 or newer", True),
        (Cuda(version=11080), "the driver's ends at 11.8", True),
        (Cuda([]), "no GPU is in reach: run it with `--gpus all`", False),
        (Cuda(status=NO_DEVICE), "(the driver says 100)", False),
        (OSError("no such file"), "no driver is in reach: run it with `--gpus all`", False),
    ],
)
def test_what_does_not_fit_is_told(
    cuda: Cuda | Exception, words: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, found = judge(monkeypatch, cuda)
    assert words in fault and found is refused
    assert "\n" not in fault
