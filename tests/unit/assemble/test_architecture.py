"""The architecture as build systems spell it follows from the compute capability and the toolkit."""

from __future__ import annotations

import dataclasses

import pytest

from scripts.assemble.architecture import describe_target, with_features
from scripts.model import CudaLine, Target

TARGET = Target("5090", "NVIDIA GeForce RTX 5090", "source", "12.0", "570", 32)


@pytest.mark.parametrize(
    ("line", "compute", "expected"),
    [
        ("12.8", "12.0", "12.0a"),
        ("12.9", "12.0", "12.0f"),
        ("13.0", "12.0", "12.0f"),
        ("13.0", "10.0", "10.0f"),
        ("13.0", "9.0", "9.0a"),
        ("12.8", "9.0", "9.0a"),
    ],
)
def test_families_begin_with_12_9_and_compute_capability_10(line: str, compute: str, expected: str) -> None:
    target = dataclasses.replace(TARGET, compute=compute)
    assert with_features(CudaLine(line, f"{line}.1", "570"), target) == expected


def test_build_scripts_find_the_target_in_every_spelling() -> None:
    assert describe_target(CudaLine("12.9", "12.9.1", "575.57.08"), TARGET) == {
        "ARCHITECTURE": "sm120",
        "COMPUTE": "12.0",
        "CUDA_HOME": "/usr/local/cuda",
        "CUDA_LINE": "12.9",
        "CUDA_SLUG": "cu129",
        "CUDA_VERSION": "12.9.1",
        "FLASHINFER_CUDA_ARCH_LIST": "12.0f",
        "TORCH_CUDA_ARCH_LIST": "12.0",
    }
