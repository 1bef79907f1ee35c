"""An engine's fair share of a GPU's memory, as the option that it is started with.

Standard library only: it runs inside the candidate, beside `probe`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nvml import GIB, Memory
from probe import require


def memory_arguments(share: Mapping[str, Any], memory: Memory) -> list[str]:
    """The option by which an engine is held to its share, such as `--gpu-memory-utilization 0.2`.

    `share` says which `option`, the `budget_gib` that the engine may hold in all, what part of that the option counts
    (`counted`: vLLM counts all, SGLang weights and cache alone), and whether it is a fraction `of` the card's `total`
    memory or of what is `free` when the engine starts. Raises Failed where there is not that much.
    """
    base = {"total": memory.total, "free": memory.free}[share["of"]]
    budget = share["budget_gib"] * GIB
    free = f"{memory.free / GIB:.1f} of {memory.total / GIB:.1f} GiB are free"
    require(budget <= memory.free, f"{share['budget_gib']:.1f} GiB are wanted, and {free}")
    fraction = math.floor(1000 * budget * share["counted"] / base) / 1000  # down: what is over is not the engine's
    require(0 < fraction < 1, f"a fraction of {fraction} is none: {free}")
    return [share["option"], f"{fraction:.3f}"]
