"""What is passed on of a build's output: its steps, its beginning, and the end of one that fails."""

from __future__ import annotations

import pytest

from tests.unit.compile.programs import load_program

program = load_program("brief")
STEP = b"[7/116] Building CUDA object CMakeFiles/_C.dir/csrc/x.cu.o\n"
BUILDKIT = 2 << 20  # bytes that it keeps of a step's output


def pass_on(lines: list[bytes], code: int) -> bytes:
    brief = program.Brief()
    return b"".join([*map(brief.take, lines), brief.end(code)])


@pytest.mark.parametrize("code", [0, 1])
def test_a_short_output_is_passed_on_as_it_is(code: int) -> None:
    lines = [b"-- Configuring\n", STEP, b"x.cu(3): warning: unused\n", b"no newline at its end"]
    assert pass_on(lines, code) == b"".join(lines)


def test_a_long_step_keeps_its_number_and_what_it_makes() -> None:
    line = b"[53/55] unit ccache nvcc" + b" -DX=1" * 900 + b" -c a.cu -o cached_ops/a.cuda.o\n"
    passed = pass_on([line], 0)
    assert passed.startswith(b"[53/55] unit ccache nvcc") and passed.endswith(b" -o cached_ops/a.cuda.o\n")
    assert len(passed) < 200


def test_steps_are_passed_on_however_much_there_is_beside_them() -> None:
    noise = [b"warning: %07d\n" % number for number in range(200_000)]
    passed = pass_on([*noise, STEP], 0)
    assert passed.startswith(noise[0]) and noise[-1] not in passed
    assert STEP in passed
    kept = passed.count(b"warning")
    assert passed.endswith(b"brief: %d lines are left out\n" % (200_000 - kept))


def test_the_end_of_a_build_that_fails_is_passed_on() -> None:
    noise = [b"warning: %07d\n" % number for number in range(200_000)]
    passed = pass_on([*noise, b"FAILED: x.cu.o\n", b"x.cu(3): error: expected a `;'\n"], 1)
    assert passed.endswith(noise[-1] + b"FAILED: x.cu.o\nx.cu(3): error: expected a `;'\n")
    assert passed.count(b"\n") == 200_003 - int(passed.split(b"brief: ")[1].split()[0])


def test_all_of_it_is_less_than_buildkit_keeps() -> None:
    step = b"[%d/6500] " + b"x" * 5000 + b"\n"
    lines = [line for number in range(6500) for line in (step % number, b"w" * 100_000 + b"\n")]
    assert len(pass_on(lines, 1)) < BUILDKIT - (64 << 10)
