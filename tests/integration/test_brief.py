"""The program that a compile step's build runs under, with stand-ins for builds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.compile.programs import PROGRAMS

NOISE = "yes 'warning: something' | head -n 100000"  # 2 MB


def run(script: str) -> tuple[int, str]:
    command = [sys.executable, "-IS", str(PROGRAMS / "brief"), "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(("end", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_builds_and_its_outputs_are_one(end: str, code: int) -> None:
    assert run(f"echo one; echo two >&2; {end}") == (code, "one\ntwo\n")


def test_a_build_that_fails_after_much_noise_says_why() -> None:
    code, output = run(f"{NOISE}; echo '[2/2] Building x.o'; {NOISE}; echo 'x.cu(3): error: no' >&2; exit 1")
    assert code == 1 and len(output) < 1 << 20
    assert "[2/2] Building x.o\n" in output and output.endswith("x.cu(3): error: no\n")
