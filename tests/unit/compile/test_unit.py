from __future__ import annotations

import pytest

from tests.unit.compile.programs import load_program

unit = load_program("unit")

RULES = "11 *fp4*\n2.5 */marlin/*.cu\n\n0.5 *\n"
SECOND = 10**9


@pytest.mark.parametrize(
    ("command", "source"),
    [
        ("nvcc -c /src/a.cu -o a.cu.o", "/src/a.cu"),
        ("ccache g++ -MF x.cpp.d -o x.cpp.o -c x.cpp", "x.cpp"),
        ("cc one.c two.c", "two.c"),
        ("c++ -c a.cc", "a.cc"),
        ("c++ -c a.cxx", "a.cxx"),
        ("nvcc --version", ""),
        ("g++ -shared -o lib.so a.cu.o b.cpp.o", ""),
        ("", ""),
    ],
)
def test_the_source_is_the_last_argument_of_such_a_name(command: str, source: str) -> None:
    assert unit.find_source(command.split()) == source


@pytest.mark.parametrize(
    ("source", "mib"),
    [
        ("/src/csrc/nvfp4_scaled_mm.cu", 11 * 1024),
        ("/src/marlin/fp4.cu", 11 * 1024),
        ("/src/csrc/marlin/deep/gemm.cu", 2560),
        ("/src/csrc/marlin/gemm.cpp", 512),
    ],
)
def test_the_first_rule_that_matches_decides(source: str, mib: int) -> None:
    assert unit.find_mib(RULES, source) == mib


def test_what_no_rule_has_takes_what_is_usual() -> None:
    assert unit.find_mib("", "x.cu") == unit.find_mib("9 *.cpp", "x.cu") == 1024


@pytest.mark.parametrize("rules", ["much *", "1"])
def test_a_rule_that_is_none_is_refused(rules: str) -> None:
    with pytest.raises(ValueError):
        unit.find_mib(rules, "x.cu")


def before(*names: str, arrived: int = 5, now: int = 100) -> list[int]:
    return list(unit.select_before(list(names), arrived * SECOND, 30 * SECOND, now * SECOND))


def test_what_runs_counts_whenever_it_came() -> None:
    assert before(f"run-{1 * SECOND}-100-1", f"run-{9 * SECOND}-200-2") == [100, 200]


def test_what_waits_counts_once_it_is_older_and_has_waited_long() -> None:
    waits = f"wait-{4 * SECOND}-300-1"
    assert before(waits, now=34) == []
    assert before(waits, now=35) == [300]
    assert before(waits, arrived=3, now=99) == [], "for the older one it does not"
