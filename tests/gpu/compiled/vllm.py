"""Kernels out of a compiled vLLM wheel, run by PyTorch alone, against the same sums in float64.

The rest of vLLM is not imported: it needs more than what its kernels were compiled in.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch

BF16, FP8 = torch.bfloat16, torch.float8_e4m3fn
LIBRARIES = ("_C_stable_libtorch", "_moe_C_stable_libtorch")


def load_libraries(site: Path) -> None:
    for name in LIBRARIES:
        torch.ops.load_library(str(site / f"vllm/{name}.abi3.so"))


def load_types() -> ModuleType:
    """vLLM's module of number formats, alone."""
    name = "vllm.scalar_type"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(sys.path[0]) / "vllm/scalar_type.py")
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.float64)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest value expected."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def rms_norm() -> float:
    x, weight = random(512, 4096).to(BF16), random(4096).to(BF16)
    out = torch.empty_like(x)
    torch.ops._C.rms_norm(out, x, weight, 1e-6)
    norm = (x.double().square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    return difference(out, x.double() * norm * weight.double())


def silu_and_mul() -> float:
    x = random(512, 8192).to(BF16)
    out = torch.empty(512, 4096, device="cuda", dtype=BF16)
    torch.ops._C.silu_and_mul(out, x)
    gate, value = x.double().chunk(2, -1)
    return difference(out, torch.nn.functional.silu(gate) * value)


def fp8_gemm() -> float:
    """CUTLASS: FP8 by tokens and channels, for the sizes of batches at which it changes kernels."""
    worst = 0.0
    for m in (1, 7, 64, 512):
        a, b = random(m, 2048).to(FP8), random(1024, 2048).to(FP8).t()
        scale_a, scale_b = torch.rand(m, 1, device="cuda"), torch.rand(1, 1024, device="cuda")
        out = torch.empty(m, 1024, device="cuda", dtype=BF16)
        torch.ops._C.cutlass_scaled_mm(out, a, b, scale_a, scale_b, None)
        worst = max(worst, difference(out, (a.double() * scale_a.double()) @ (b.double() * scale_b.double())))
    return worst


def marlin_gemm() -> float:
    """Four-bit weights with one scale for each channel, packed as GPTQ has them and laid out anew for Marlin."""
    k, n = 1024, 2048
    quantized = torch.randint(0, 16, (k, n), device="cuda")
    scales = (torch.rand(1, n, device="cuda") * 0.1).to(BF16)
    packed = sum(quantized.view(k // 8, 8, n)[:, i] << 4 * i for i in range(8))
    packed = torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)
    nothing = torch.empty(0, dtype=torch.int32, device="cuda")
    weight = torch.ops._C.gptq_marlin_repack(packed, nothing, k, n, 4, False)
    order = [2 * i + j for i in range(4) for j in (0, 1, 8, 9, 16, 17, 24, 25)]
    laid = scales.reshape(-1, 32)[:, order].reshape(1, n).contiguous()
    workspace = torch.zeros(torch.cuda.get_device_properties(0).multi_processor_count, dtype=torch.int32, device="cuda")
    worst = 0.0
    for m in (1, 7, 64, 512):
        a = random(m, k).to(BF16)
        out = torch.ops._C.marlin_gemm(
            a, None, weight, None, laid, None, None, None, None, None, workspace, load_types().scalar_types.uint4b8.id,
            m, n, k, True, False, True, False,
        )  # fmt: skip
        worst = max(worst, difference(out, a.double() @ ((quantized.double() - 8) * scales.double())))
    return worst


def topk_softmax() -> float:
    """The experts' router, out of the library of mixtures of experts."""
    logits = random(256, 64).float()
    weights = torch.empty(256, 8, device="cuda")
    chosen, order = (torch.empty(256, 8, device="cuda", dtype=torch.int32) for _ in range(2))
    torch.ops._moe_C.topk_softmax(weights, chosen, order, logits, False, None, None)
    expected = logits.double().softmax(-1).topk(8)
    assert torch.equal(chosen.long(), expected.indices), "other experts"
    return difference(weights, expected.values)


load_libraries(Path(sys.path[0]))
CHECKS = {
    "rms-norm": rms_norm,
    "silu-and-mul": silu_and_mul,
    "fp8-gemm": fp8_gemm,
    "marlin-gemm": marlin_gemm,
    "topk-softmax": topk_softmax,
}
