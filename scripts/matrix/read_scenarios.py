"""Reading the scenarios of an `image.toml`: one table, one scenario."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from scripts.matrix.names import LONGEST_NAME
from scripts.matrix.read_rules import read_scope
from scripts.matrix.reader import Table, find_repeated
from scripts.matrix.rules import EVERYWHERE
from scripts.matrix.scenarios import USUAL_START_S, Absence, Scenario, UpstreamTest
from scripts.text import name_some

DTYPES = ("bfloat16", "float32")
UPSTREAM = "upstream"  # the check that runs upstream's tests
# What the gate gives to every container, whatever a scenario says.
RESERVED = (
    *("HOME", "HF_HUB_OFFLINE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
    *("HALLMARK_CHECKS", "HALLMARK_COMPUTE", "HALLMARK_CUDA", "HALLMARK_DTYPE", "HALLMARK_MEAN_TOLERANCE"),
    *("HALLMARK_SERVE_ARGS", "HALLMARK_SMOKE_DIR", "HALLMARK_START_S", "HALLMARK_TARGET", "HALLMARK_TOLERANCE"),
    *("HALLMARK_UPSTREAM", "PYTEST_ADDOPTS"),
)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_PART = re.compile(r"[A-Za-z0-9_]+")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # it names files, and stands before a `/` in the names of results


def read_scenarios(tables: Sequence[Table]) -> tuple[Scenario, ...]:
    """All of [[scenario]]."""
    scenarios = tuple(map(_read_scenario, tables))
    for name in find_repeated([scenario.name for scenario in scenarios if scenario.name]):
        tables[-1].note(f"`{name}` stands twice", "name", "name each scenario for what is special about it")
    return scenarios


def _read_scenario(table: Table) -> Scenario:
    scenario = Scenario(
        name=table.string("name"),
        checks=table.strings("checks"),
        timeout_s=table.number("timeout_s"),
        memory_gib=table.number("memory_gib"),
        model=table.string("model", ""),
        dtype=table.string("dtype", ""),
        arguments=table.strings("arguments", ()),
        environment=_read_environment(table.table("environment")),
        required=table.flag("required", True),
        absences=tuple(map(_read_absence, table.tables("except"))),
        tests=tuple(map(_read_test, table.tables("tests"))),
        start_s=table.number("start_s", USUAL_START_S),
    )
    if scenario.name and not (_NAME.fullmatch(scenario.name) and len(scenario.name) <= LONGEST_NAME):
        table.note(f"`{scenario.name}` cannot name a scenario", "name", "use lower-case letters, digits and `-`")
    if scenario.dtype and scenario.dtype not in DTYPES:
        table.note(f"`{scenario.dtype}` is no type to compute in", "dtype", name_some(DTYPES))
    for key in ("timeout_s", "memory_gib"):
        if key in table and not getattr(scenario, key):
            table.note("must be more than 0", key, "write a larger number")
    if "start_s" in table and not 0 < scenario.start_s < scenario.timeout_s:
        cause = f"a start may take {scenario.start_s} s, and the whole scenario {scenario.timeout_s} s"
        table.note(cause, "start_s", "write more than 0, and less than `timeout_s`")
    if bool(scenario.tests) != (UPSTREAM in scenario.checks):
        table.note(
            f"[[scenario.tests]] and the check `{UPSTREAM}`, which runs them, go together",
            "checks",
            "write both, or neither",
        )
    for file in find_repeated([test.file for test in scenario.tests]):
        table.note(f"`{file}` stands twice", "tests", "leave one of them")
    table.finish()
    return scenario


def _read_test(table: Table) -> UpstreamTest:
    test = UpstreamTest(
        file=table.string("file"),
        passes=table.number("passes"),
        without=table.strings("without", ()),
        reason=table.string("reason", ""),
        marks=table.strings("marks", ()),
    )
    path = PurePosixPath(test.file)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".py":
        cause = f"`{test.file}`: expected a Python file's path in the suite's folder"
        table.note(cause, "file", "write it as `a/test_b.py`")
    if "passes" in table and not test.passes:
        table.note(
            "must be more than 0: a file of which no test passes shows nothing", "passes", "write how many must pass"
        )
    if any(not _PART.fullmatch(part) for part in test.without):
        table.note("expected parts of the names of tests", "without", "use letters, digits and `_`")
    if any(not mark.isidentifier() for mark in test.marks):
        table.note("expected the names of pytest's marks", "marks", "use letters, digits and `_`")
    if bool(test.without) != bool(test.reason):
        table.note(
            "tests are left out for a reason, and a reason is for leaving some out", "reason", "write both, or neither"
        )
    table.finish()
    return test


def _read_environment(table: Table) -> dict[str, str]:
    environment = {name: table.string(name) for name in table.names()}
    for name in environment:
        if not _VARIABLE.fullmatch(name) or name in RESERVED:
            table.note(
                "cannot be given: the gate sets it, or no variable is called so",
                name,
                "delete it, or use capitals, digits and `_`",
            )
    return environment


def _read_absence(table: Table) -> Absence:
    absence = Absence(table.string("reason"), read_scope(table))
    if absence.scope == EVERYWHERE:
        table.note("leaves the scenario out of every cell", next_step="name a `cuda`, `compute` or `recipe`")
    table.finish()
    return absence
