"""What compiling takes, before it begins: units, processor time, and how many units run at once on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.matrix import Component

RESERVE_GIB = 1  # for all that is no compiler


@dataclass(frozen=True)
class Machine:
    """Processors and memory in GiB, as far as a build may have them."""

    cores: int
    gib: int

    @classmethod
    def here(cls) -> Machine:
        """This one. Another builder counts its own when it compiles."""
        try:
            text = Path("/proc/meminfo").read_text("ascii")
            kib = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("MemAvailable:"))
        except (OSError, StopIteration, ValueError):
            kib = 0
        return cls(len(os.sched_getaffinity(0)), max(1, (kib >> 20) - RESERVE_GIB))


def describe_work(components: Sequence[Component], machine: Machine) -> list[str]:
    """A line for each component: what it took where it was measured, and what runs at once on this machine."""
    return [_describe(component, machine) for component in {each.id: each for each in components}.values()]


def _describe(component: Component, machine: Machine) -> str:
    memory = component.memory
    parts = [f"{component.units} units"] if component.units else []
    if component.cpu_minutes:
        parts.append(f"about {_format_minutes(component.cpu_minutes / machine.cores)} on {machine.cores} processors")
    at_once = max(1, min(machine.cores, int(machine.gib / memory.unit)))
    parts.append(f"{at_once} at once within {machine.gib} GiB ({memory.unit:g} GiB each)")
    if memory.heavy:
        gib = max(gib for _, gib in memory.heavy)
        parts.append(f"of the largest {max(1, min(machine.cores, int(machine.gib / gib)))} ({gib:g} GiB)")
    return f"{component.id}: {', '.join(parts)}"


def _format_minutes(minutes: float) -> str:
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min"
