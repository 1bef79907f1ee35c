"""An engine's share of a GPU, as the fraction that it is started with."""

from __future__ import annotations

from typing import Any

import pytest
from memory import memory_arguments
from nvml import GIB, Memory
from probe import Failed

VLLM = {"option": "--gpu-memory-utilization", "of": "total", "counted": 1.0, "budget_gib": 28.8}
SGLANG = {"option": "--mem-fraction-static", "of": "free", "counted": 0.8, "budget_gib": 28.8}
H200 = Memory(141 * GIB, 140 * GIB, 1 * GIB)
RTX_5090 = Memory(32 * GIB, 31 * GIB, 1 * GIB)


@pytest.mark.parametrize(
    ("share", "card", "fraction"),
    [
        (VLLM, H200, "0.204"),  # 28.8 / 141
        (VLLM, RTX_5090, "0.900"),
        (SGLANG, H200, "0.164"),  # 0.8 × 28.8 / 140
        (SGLANG, RTX_5090, "0.743"),  # 0.8 × 28.8 / 31
        (SGLANG, Memory(32 * GIB, 29 * GIB, 3 * GIB), "0.794"),  # of what others have left
    ],
)
def test_a_share_is_a_fraction_of_the_card_that_is_there(share: dict[str, Any], card: Memory, fraction: str) -> None:
    assert memory_arguments(share, card) == [share["option"], fraction]


@pytest.mark.parametrize("share", [VLLM, SGLANG])
def test_a_fraction_is_never_rounded_up(share: dict[str, Any]) -> None:
    [_, fraction] = memory_arguments(share, H200)
    base = {"total": H200.total, "free": H200.free}[share["of"]]
    assert float(fraction) * base <= share["counted"] * share["budget_gib"] * GIB


@pytest.mark.parametrize("share", [VLLM, SGLANG])
def test_more_than_is_free_is_refused(share: dict[str, Any]) -> None:
    with pytest.raises(Failed, match=r"28\.8 GiB are wanted, and 20\.0 of 32\.0 GiB are free"):
        memory_arguments(share, Memory(32 * GIB, 20 * GIB, 12 * GIB))


@pytest.mark.parametrize("budget", [0.0, -1.0, 0.001])
def test_a_share_of_nothing_is_refused(budget: float) -> None:
    with pytest.raises(Failed, match="a fraction of"):
        memory_arguments(VLLM | {"budget_gib": budget}, H200)
