"""What compiling takes, as it is said before it begins."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from scripts.compile.estimate import Machine, describe_work
from scripts.matrix import Component, Memory

THING = Component(
    "thing", "1.0", Path("images/x/components/thing"), "thing", (), Memory(1.5, (("*fp4*", 10.0),)), (), {},
    units=100, cpu_minutes=80,
)  # fmt: skip


def test_the_measured_cost_is_divided_by_the_processors() -> None:
    [line] = describe_work([THING], Machine(2, 20))
    assert line == (
        "thing-1.0: 100 units, about 40 min on 2 processors, 2 at once within 20 GiB (1.5 GiB each), "
        "of the largest 2 (10 GiB)"
    )


def test_memory_bounds_how_many_run_at_once() -> None:
    [line] = describe_work([THING], Machine(16, 12))
    assert "8 at once within 12 GiB" in line and "of the largest 1 (10 GiB)" in line


def test_long_work_is_told_in_hours_and_what_was_not_measured_is_not_told() -> None:
    [long] = describe_work([dataclasses.replace(THING, cpu_minutes=600)], Machine(2, 20))
    assert "about 5.0 h on 2 processors" in long
    [unknown] = describe_work([dataclasses.replace(THING, cpu_minutes=0, units=0)], Machine(2, 20))
    assert unknown.startswith("thing-1.0: 2 at once")


def test_a_component_of_several_recipes_is_told_once() -> None:
    assert len(describe_work([THING, THING], Machine(2, 20))) == 1


def test_this_machine_has_processors_and_memory() -> None:
    here = Machine.here()
    assert here.cores >= 1 and here.gib >= 1
