"""Attention out of a FlashInfer wheel compiled ahead of time, against the same in float64.

FlashInfer may compile nothing here: what it does not find compiled, it has to refuse.
"""

import math
import os
from collections.abc import Callable
from functools import partial

os.environ |= {"FLASHINFER_DISABLE_JIT": "1", "FLASHINFER_WORKSPACE_BASE": "/tmp"}

import flashinfer  # type: ignore[import-not-found]
import torch

BF16 = torch.bfloat16
PAGE, HEADS, GROUPS = 16, 8, 2  # tokens in a page; heads that ask, and that are asked
LENGTHS = (1, 17, 256, 1000)  # tokens in the cache, for each request of a batch


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Causal attention of the last tokens of a sequence in float64: shapes (tokens, heads, size)."""
    asked, there = len(query), len(key)
    key, value = (each.double().repeat_interleave(HEADS // GROUPS, 1) for each in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query.double(), key) / math.sqrt(query.shape[-1])
    seen = torch.ones(asked, there, dtype=torch.bool, device="cuda").tril(there - asked)
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -math.inf).softmax(-1), value)


def attention(size: int, asked: int, backend: str) -> float:
    """The largest difference of a batch over a paged cache, in which each request asks for its last tokens."""
    pages = [-(-length // PAGE) for length in LENGTHS]
    cache = torch.randn(sum(pages), 2, PAGE, GROUPS, size, device="cuda", dtype=BF16)
    order = torch.randperm(sum(pages), device="cuda", dtype=torch.int32)
    starts = torch.tensor([0, *pages], device="cuda").cumsum(0).int()
    last = torch.tensor([(length - 1) % PAGE + 1 for length in LENGTHS], device="cuda", dtype=torch.int32)
    counts = [min(asked, length) for length in LENGTHS]
    query = torch.randn(sum(counts), HEADS, size, device="cuda", dtype=BF16)
    room = torch.zeros(128 << 20, dtype=torch.uint8, device="cuda")
    if asked == 1:
        decode = flashinfer.BatchDecodeWithPagedKVCacheWrapper(room, backend=backend)
        decode.plan(starts, order, last, HEADS, GROUPS, size, PAGE, q_data_type=BF16, kv_data_type=BF16)
        out = decode.run(query, cache)
    else:
        prefill = flashinfer.BatchPrefillWithPagedKVCacheWrapper(room, backend=backend)
        begins = torch.tensor([0, *counts], device="cuda").cumsum(0).int()
        prefill.plan(
            begins, starts, order, last, HEADS, GROUPS, size, PAGE, causal=True, q_data_type=BF16, kv_data_type=BF16
        )
        out = prefill.run(query, cache)
    worst, row = 0.0, 0
    for number, length in enumerate(LENGTHS):
        mine = cache[order[starts[number] : starts[number + 1]].long()]
        key, value = (mine[:, part].reshape(-1, GROUPS, size)[:length] for part in (0, 1))
        expected = attend(query[row : row + counts[number]], key, value)
        worst = max(worst, (out[row : row + counts[number]].double() - expected).abs().max().item())
        row += counts[number]
    return worst


def refusal() -> float:
    """Heads of 256, which are not compiled: 0 if FlashInfer says so, and else an error."""
    try:
        attention(256, 1, "fa2")
    except Exception as error:
        if type(error).__name__ != "MissingJITCacheError":
            raise
        return 0.0
    raise AssertionError("a module that was not compiled ahead of time was found")


CHECKS: dict[str, Callable[[], float]] = {
    f"{name}-{size}-{backend}": partial(attention, size, asked, backend)
    for name, asked in (("decode", 1), ("prefill", 64))
    for size in (64, 128)
    for backend in ("fa2", "auto")
}
CHECKS["not-compiled"] = refusal
