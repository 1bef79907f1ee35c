"""Prompts of every size: a server that is right passes, and one that is wrong at one size, or in company, fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from probe import Failed
from sweeping import AT_ONCE, SIZES, sweep

from scripts.smoke.models.reference import draw_tokens

EXPECTED = [-1.0 - (place % 7) / 10 for place in range(4095)]
TOKENS = draw_tokens(4096)
REFERENCE = {"long": {"token_ids": TOKENS, "prompt_logprobs": EXPECTED}}


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_TOLERANCE", "0.05")
    monkeypatch.setenv("HALLMARK_MEAN_TOLERANCE", "0.008")


class Scripted:
    """Answers as the reference has it; `wrong` moves all values of one size, or of any while several are asked."""

    def __init__(self, size: int = 0, *, company: int = 0, by: float = 0.1) -> None:
        self.size, self.company, self.by = size, company, by
        self.asked: list[tuple[int, int]] = []
        self.busy = 0
        self.lock = threading.Lock()

    def read(self, tokens: Sequence[int]) -> list[float]:
        assert list(tokens) == TOKENS[: len(tokens)]
        with self.lock:
            self.busy += 1
        time.sleep(0.002)
        with self.lock:
            company, self.busy = self.busy, self.busy - 1
        self.asked.append((len(tokens), company))
        wrong = len(tokens) == self.size or (self.company and company >= self.company)
        return [value + (self.by if wrong else 0.001) for value in EXPECTED[: len(tokens) - 1]]


def test_a_server_that_is_right_at_every_size_passes_with_numbers() -> None:
    server, measured = Scripted(), dict[str, Any]()
    sweep(server.read, REFERENCE, measured)
    assert measured.keys() == {f"{size}_tokens" for size in SIZES}
    assert measured["4096_tokens"]["max_difference_nats"] == pytest.approx(0.001)
    assert measured["2_tokens"]["mean_difference_nats"] == pytest.approx(0.001)
    assert {size for size, _ in server.asked} == set(SIZES)
    assert max(company for _, company in server.asked) > 8, "nothing was asked side by side"
    assert len(server.asked) == len(SIZES) + sum(max(count, len(SIZES)) for count in AT_ONCE[1:])


@pytest.mark.parametrize("size", SIZES)
def test_one_that_is_wrong_at_one_size_fails_by_its_name(size: int) -> None:
    with pytest.raises(Failed, match=f"^{size} tokens, 1 at once: values differ by up to 0.1"):
        sweep(Scripted(size).read, REFERENCE, {})


def test_one_that_is_wrong_a_little_everywhere_fails_by_the_mean() -> None:
    with pytest.raises(Failed, match=r"^64 tokens, 1 at once: values differ by 0\.02 on average"):
        sweep(Scripted(64, by=0.02).read, REFERENCE, {})


def test_one_that_is_wrong_in_company_fails() -> None:
    with pytest.raises(Failed, match=r"tokens, (8|64) at once"):
        sweep(Scripted(company=4).read, REFERENCE, {})


def test_a_short_answer_fails() -> None:
    with pytest.raises(Failed, match="0 values where 1 were expected"):
        sweep(lambda tokens: EXPECTED[: len(tokens) - 2], REFERENCE, {})
