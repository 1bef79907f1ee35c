"""What the smoke scripts of images with a guard share: the guard, tried on the GPU that the image is for.

Standard library only: it runs inside the candidate, as `probe` does, and stands beside it.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from probe import require

GUARD = "/usr/local/bin/hallmark-guard"
STATUS = 7  # any exit code that nothing else ends with


def check_guard(measured: dict[str, Any]) -> None:
    """The guard lets a command run on this GPU and hands its exit code on, and would refuse another GPU or driver."""
    leave = [sys.executable, "-IS", "-c", f"raise SystemExit({STATUS})"]
    bare, _ = _time(leave)
    guarded, ended = _time([GUARD, *leave])
    measured["guard_ms"] = round(1000 * (guarded - bare), 1)
    require(ended.returncode == STATUS, f"a command that ends with {STATUS} ended with {ended.returncode}")
    require(not ended.stderr, f"the guard finds fault with the GPU that the image is for: {ended.stderr[:500]}")
    program = runpy.run_path(GUARD)
    driver = program["ask_driver"]()
    measured["driver"] = driver
    image = {"compute": os.environ["HALLMARK_COMPUTE"], "cuda": os.environ["HALLMARK_CUDA"], "driver": "999.0"}
    others = {"another GPU": {"compute": "1.0"}, "an older driver": {"cuda": "99.0"}}
    for what, change in others.items():
        fault, refused = program["judge"](image | change, driver)
        measured[what] = fault
        require(bool(fault) and refused, f"the guard would not refuse {what}")


def _time(command: Sequence[str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    started = time.monotonic()
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return time.monotonic() - started, ended
