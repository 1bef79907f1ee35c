from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.compile.ninja import Units

OBJECT = "Building CUDA object CMakeFiles/_C.dir/csrc/quantization/marlin/gemm.cu.o"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def follow(*lines: tuple[float, str]) -> list[str | None]:
    """What is shown after each line, which comes so many seconds after the one before."""
    clock = Clock()
    units = Units(clock)
    shown = []
    for seconds, line in lines:
        clock.now += seconds
        shown.append(units.follow(line))
    return shown


def test_a_unit_is_shown_by_its_number_and_file() -> None:
    assert follow((0, f"[1/110] {OBJECT}")) == ["1 of 110 units: gemm.cu"]


def test_the_time_left_is_told_once_there_is_a_rate() -> None:
    shown = follow((0, f"[1/110] {OBJECT}"), (50, f"[5/110] {OBJECT}"), (550, f"[17/110] {OBJECT}"))
    assert shown[1] == "5 of 110 units: gemm.cu"
    assert shown[2] == "17 of 110 units, about 58 min left: gemm.cu", "16 units in 600 s, and 93 to come"


def test_units_that_were_there_already_do_not_count_for_the_rate() -> None:
    shown = follow((0, f"[1/110] {OBJECT}"), (1, f"[60/110] {OBJECT}"), (100, f"[61/110] {OBJECT}"))
    assert shown[2] is not None and "min left" in shown[2]


@pytest.mark.parametrize(
    ("done", "left"),
    [(110, ", less than a minute left"), (109, ", less than a minute left"), (100, ", about 1 min left")],
)
def test_the_end_is_near(done: int, left: str) -> None:
    assert follow((0, f"[1/110] {OBJECT}"), (600, f"[{done}/110] {OBJECT}"))[1] == f"{done} of 110 units{left}: gemm.cu"


def test_another_run_of_ninja_starts_anew() -> None:
    trial = "[1/2] Building CXX object CMakeFiles/cmTC_1a2b3.dir/testCXXCompiler.cxx.o"
    linking = "[2/2] Linking CXX executable cmTC_1a2b3"
    shown = follow(
        (0, trial), (300, linking), (0, f"[1/110] {OBJECT}"), (30, f"[4/110] {OBJECT}"), (0, f"[1/110] {OBJECT}")
    )
    assert shown == [
        "1 of 2 units: testCXXCompiler.cxx",
        "2 of 2 units: cmTC_1a2b3",
        "1 of 110 units: gemm.cu",
        "4 of 110 units: gemm.cu",
        "1 of 110 units: gemm.cu",
    ]


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("Linking CXX shared module _C.abi3.so", "_C.abi3"),
        ("/usr/bin/nvcc -c /src/a/decode.cu -o decode.cuda.o", "decode.cuda"),
        ("Generating x", "x"),
    ],
)
def test_what_is_no_object_is_named_all_the_same(what: str, name: str) -> None:
    assert follow((0, f"[1/3] {what}")) == [f"1 of 3 units: {name}"]


@pytest.mark.parametrize(
    "line", ["", "-- Found CUDA", "[17/110]", "[x/2] y", "  [1/2] indented", "[0] x", "ninja: build stopped"]
)
def test_other_lines_say_nothing_new(line: str) -> None:
    assert follow((0, line)) == [None]


@pytest.mark.parametrize("line", ["[0/0] x", "[5/2] x", "[0/5] x", "[1/1]  "])
def test_counts_that_make_no_sense_stop_nothing(line: str) -> None:
    follow((0, line), (900, line), (900, line))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 200), st.integers(0, 200), st.text(max_size=9)), max_size=9)
)
def test_no_line_makes_it_fail(lines: list[tuple[float, int, int, str]]) -> None:
    for text in follow(*((seconds, f"[{done}/{total}] {what}") for seconds, done, total, what in lines)):
        assert text is None or "-" not in text.partition(":")[0], "no time is less than nothing"
