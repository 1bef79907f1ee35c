"""Reading the scenarios of an `image.toml`: one table, one scenario."""

from __future__ import annotations

import re
from collections.abc import Sequence

from scripts.matrix.read_rules import read_scope
from scripts.matrix.reader import Table, find_repeated
from scripts.matrix.rules import EVERYWHERE
from scripts.matrix.scenarios import Absence, Scenario

DTYPES = ("bfloat16", "float32")
# What the gate gives to every container, whatever a scenario says.
RESERVED = (
    *("HOME", "HF_HUB_OFFLINE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
    *("HALLMARK_CHECKS", "HALLMARK_COMPUTE", "HALLMARK_CUDA", "HALLMARK_DTYPE", "HALLMARK_MEAN_TOLERANCE"),
    *("HALLMARK_SERVE_ARGS", "HALLMARK_SMOKE_DIR", "HALLMARK_TARGET", "HALLMARK_TOLERANCE"),
)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
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
    )
    if scenario.name and not _NAME.fullmatch(scenario.name):
        table.note(f"`{scenario.name}` cannot name a scenario", "name", "use lower-case letters, digits and `-`")
    if scenario.dtype and scenario.dtype not in DTYPES:
        table.note(f"`{scenario.dtype}` is no type to compute in", "dtype", f"one of: {', '.join(DTYPES)}")
    for key in ("timeout_s", "memory_gib"):
        if key in table and not getattr(scenario, key):
            table.note("must be more than 0", key)
    table.finish()
    return scenario


def _read_environment(table: Table) -> dict[str, str]:
    environment = {name: table.string(name) for name in table.names()}
    for name in environment:
        if not _VARIABLE.fullmatch(name) or name in RESERVED:
            table.note("cannot be given: the gate sets it, or no variable is called so", name)
    return environment


def _read_absence(table: Table) -> Absence:
    absence = Absence(table.string("reason"), read_scope(table))
    if absence.scope == EVERYWHERE:
        table.note("leaves the scenario out of every cell", next_step="name a `cuda`, `compute` or `recipe`")
    table.finish()
    return absence
