"""The guard's own check: a guard that lets all through, one that lets nothing through, and one that eats exit codes."""

from __future__ import annotations

import runpy
import subprocess
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import guarding
import pytest
from probe import Failed

from scripts.assemble.inside import guard

DRIVER = {"cuda": 13000, "gpus": [("NVIDIA H200", "9.0")]}


@pytest.fixture(autouse=True)
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_COMPUTE", "9.0")
    monkeypatch.setenv("HALLMARK_CUDA", "13.0")


def check(monkeypatch: pytest.MonkeyPatch, status: int = guarding.STATUS, said: str = "", judge: Any = None) -> Any:
    def run(command: Sequence[str], **_: Any) -> Any:
        guarded = command[0] == guarding.GUARD
        return SimpleNamespace(returncode=status if guarded else guarding.STATUS, stderr=said if guarded else "")

    program = {"judge": judge or guard.judge, "ask_driver": lambda: DRIVER}
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(runpy, "run_path", lambda path: program)
    measured: dict[str, Any] = {}
    guarding.check_guard(measured)
    return measured


def test_a_guard_that_knows_its_gpu_passes_with_what_it_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = check(monkeypatch)
    assert "NVIDIA H200 (GPU 0) has 9.0" in measured["another GPU"]
    assert "install driver 999.0" in measured["an older driver"]
    assert measured["driver"] == DRIVER and "guard_ms" in measured


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"status": 0}, "a command that ends with 7 ended with 0"),
        ({"status": 78, "said": "hallmark: no"}, "ended with 78"),
        ({"said": "hallmark: no"}, "finds fault with the GPU that the image is for: hallmark: no"),
        ({"judge": lambda image, driver: ("", False)}, "would not refuse another GPU"),
        ({"judge": lambda image, driver: ("told", False)}, "would not refuse another GPU"),
        ({"judge": lambda image, driver: ("told", image["compute"] == "1.0")}, "would not refuse an older driver"),
    ],
)
def test_a_guard_that_errs_fails(changes: dict[str, Any], cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failed, match=cause):
        check(monkeypatch, **changes)
