"""What a GPU computes with the PyTorch that is found first: every result as a hash of its bytes, one JSON object.

Run by `tests.gpu.slimming` in a process of its own for each set of libraries. Needs torch and transformers.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM

SEED = 20250914
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def main() -> None:
    """Print `{"device": …, "results": {name: hash or error}}`. An error ends the list: CUDA's outlast their cause."""
    results: dict[str, str] = {}
    for name, compute in computations():
        torch.manual_seed(SEED)
        try:
            results[name] = digest(compute())
        except RuntimeError as error:
            results[name] = f"error: {str(error).splitlines()[0]}"
            break
    device = f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()}"
    json.dump({"torch": torch.__version__, "device": device, "results": results}, sys.stdout)


def computations() -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """The suite, in order; each on fresh random numbers of the same seed.

    No FFT: cuFFT, which is NVIDIA's and never slimmed, links its kernels when asked for them, and fails without JIT.
    """
    yield "random", lambda: torch.randn(1 << 20, device="cuda")
    for name, dtype in DTYPES.items():
        yield f"matmul {name}", lambda dtype=dtype, name=name: matmul(dtype, tf32=name == "tf32")  # type: ignore[misc]
        yield f"conv2d {name}", lambda dtype=dtype, name=name: conv2d(dtype, tf32=name == "tf32")  # type: ignore[misc]
    for name, backend in BACKENDS.items():
        yield f"attention {name}", lambda backend=backend: attention(backend)  # type: ignore[misc]
    yield "sort", lambda: torch.randn(1 << 20, device="cuda").sort().indices
    yield "cumsum", lambda: torch.randn(1 << 20, device="cuda").cumsum(0)
    yield "topk", lambda: torch.randn(64, 1 << 15, device="cuda").topk(50).indices
    yield "softmax", lambda: torch.randn(512, 32000, device="cuda").softmax(-1)
    yield "layer norm", lambda: torch.nn.functional.layer_norm(torch.randn(512, 4096, device="cuda"), (4096,))
    yield (
        "embedding",
        lambda: torch.nn.functional.embedding(
            torch.randint(32000, (4096,), device="cuda"), torch.randn(32000, 256, device="cuda")
        ),
    )
    yield "inverse", lambda: torch.linalg.inv(torch.randn(256, 256, device="cuda"))
    yield "cholesky", lambda: torch.linalg.cholesky(positive(256))
    yield "eigenvalues", lambda: torch.linalg.eigvalsh(positive(128))
    yield "generate", generate


def matmul(dtype: torch.dtype, *, tf32: bool) -> torch.Tensor:
    with allowing_tf32(tf32):
        return torch.randn(1024, 2048, device="cuda").to(dtype) @ torch.randn(2048, 512, device="cuda").to(dtype)


def conv2d(dtype: torch.dtype, *, tf32: bool) -> torch.Tensor:
    with allowing_tf32(tf32):
        images = torch.randn(8, 32, 64, 64, device="cuda").to(dtype)
        return torch.nn.functional.conv2d(images, torch.randn(64, 32, 3, 3, device="cuda").to(dtype), padding=1)


def attention(backend: SDPBackend) -> torch.Tensor:
    query, key, value = (torch.randn(2, 8, 512, 64, device="cuda").bfloat16() for _ in range(3))
    with sdpa_kernel(backend):
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def positive(size: int) -> torch.Tensor:
    matrix = torch.randn(size, size, device="cuda", dtype=torch.float64)
    return matrix @ matrix.T + size * torch.eye(size, device="cuda", dtype=torch.float64)


def generate() -> torch.Tensor:
    config = LlamaConfig(
        vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4
    )
    model = LlamaForCausalLM(config).to("cuda", torch.bfloat16).eval()
    prompt = torch.randint(512, (2, 64), device="cuda")
    return model.generate(prompt, max_new_tokens=32, do_sample=False, pad_token_id=0)


@contextmanager
def allowing_tf32(allowed: bool) -> Iterator[None]:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def digest(tensor: torch.Tensor) -> str:
    """A hash of the tensor's type, shape and bytes."""
    data = tensor.detach().contiguous().cpu()
    hasher = hashlib.sha256(f"{data.dtype} {tuple(data.shape)} ".encode())
    hasher.update(data.view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True, warn_only=True)
    main()
