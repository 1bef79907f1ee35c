from __future__ import annotations

import pytest

from scripts.slim.wheel.bundled import is_bundled


@pytest.mark.parametrize(
    "name",
    [
        "libcublas.so.12",
        "x.libs/libcudart-d0da41ae.so.11.0",
        "x.libs/libnvjpeg.4a0b5c81.so.13",
        "lib/libnppc.so.12",
        "torch/lib/libtorch_nvshmem.so",
    ],
)
def test_nvidias_libraries_are_known_by_their_names(name: str) -> None:
    assert is_bundled(name)


@pytest.mark.parametrize("name", ["torch/lib/libtorch_cuda.so", "libcu/x.so", "vllm/_C.abi3.so", "nvidia/_C.so"])
def test_other_libraries_are_not(name: str) -> None:
    assert not is_bundled(name)
