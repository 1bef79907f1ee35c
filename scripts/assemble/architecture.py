"""What every build script finds in its environment: the target's architecture as each build system spells it."""

from __future__ import annotations

from scripts.model import CudaLine, Target


def describe_target(cuda: CudaLine, target: Target) -> dict[str, str]:
    """Environment variables for compiling for a target with a line's toolkit. The target must have a GPU."""
    return {
        "ARCHITECTURE": target.architecture,
        "COMPUTE": target.compute,
        "CUDA_HOME": "/usr/local/cuda",
        "CUDA_LINE": cuda.id,
        "CUDA_SLUG": cuda.slug,
        "CUDA_VERSION": cuda.toolkit,
        "FLASHINFER_CUDA_ARCH_LIST": with_features(cuda, target),
        "TORCH_CUDA_ARCH_LIST": target.compute,
    }


def with_features(cuda: CudaLine, target: Target) -> str:
    """The compute capability with all of its own instructions: 12.0f, and 12.0a with a toolkit older than 12.9.

    `f` (family) code runs on later members of the family too. Source: NVIDIA's guide to the CUDA C++ programming model,
    "family-specific architecture features", which 12.9 introduced for 10.0 and later.
    """
    line = tuple(int(part) for part in cuda.id.split("."))
    compute = tuple(int(part) for part in target.compute.split("."))
    return target.compute + ("f" if line >= (12, 9) and compute >= (10, 0) else "a")
