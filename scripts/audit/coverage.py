"""What one GPU finds in one library: the grade, the counts, and what a driver would have to compile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.audit.library import Library
from scripts.gpucode import Container, Entry, Support, find_usable, jit_driver_floor, toolkit_of_ptx
from scripts.model import Coverage

UNKNOWN_DRIVER = "unknown"


@dataclass(frozen=True)
class LibraryAudit:
    """What a GPU can do with one library.

    `native`, `jit` and `missing` count containers (each holds one compilation unit's kernels) by what the GPU finds
    there; `size` and `usable` are bytes of GPU code: all of it, and the part that this GPU would load. `jit_from` names
    the PTX that would be compiled, `driver` the oldest Linux driver that compiles it.
    """

    path: str
    coverage: Coverage
    native: int
    jit: int
    missing: int
    size: int
    usable: int
    architectures: tuple[str, ...]
    jit_from: tuple[str, ...]
    driver: str
    fault: str
    reason: str = ""


def judge_library(library: Library, compute: str) -> LibraryAudit:
    """What a GPU of this compute capability finds in one library."""
    # What the device linker was given lies in the file beside what it made of it, and is never loaded itself.
    containers = [container for container in library.containers if not container.relocatable]
    found = [_find_usable(container, compute) for container in containers]
    counts = {kind: sum(support == kind for support, _ in found) for kind in ("native", "jit", "none")}
    compiled = [entry for support, entries in found if support == "jit" for entry in entries]
    return LibraryAudit(
        path=library.path,
        coverage=_summarise(library, counts),
        native=counts["native"],
        jit=counts["jit"],
        missing=counts["none"],
        size=sum(entry.stored_size for container in containers for entry in container.entries),
        usable=sum(entry.stored_size for _, entries in found for entry in entries),
        architectures=tuple(sorted({_name(entry) for c in containers for entry in c.entries}, key=_order)),
        jit_from=tuple(sorted({_name(entry) for entry in compiled}, key=_order)),
        driver=newest_driver(map(_driver, compiled)),
        fault=library.fault,
    )


def _find_usable(container: Container, compute: str) -> tuple[Support, list[Entry]]:
    support, positions = find_usable(container.entries, compute)
    return support, [container.entries[position] for position in positions]


def _summarise(library: Library, counts: dict[str, int]) -> Coverage:
    if library.fault:
        return Coverage.UNREADABLE
    if not counts["native"] and not counts["jit"]:
        return Coverage.MISSING
    if counts["none"]:
        return Coverage.PARTLY
    return Coverage.JIT if counts["jit"] else Coverage.NATIVE


def _driver(entry: Entry) -> str:
    try:
        return jit_driver_floor(toolkit_of_ptx(entry.ptx_version))
    except ValueError:
        return UNKNOWN_DRIVER


def newest_driver(drivers: Iterable[str]) -> str:
    """The newest of several driver versions; one that is unknown counts as newer than all."""
    key = lambda version: [10**9] if version == UNKNOWN_DRIVER else [int(part) for part in version.split(".")]  # noqa: E731
    return max(filter(None, drivers), key=key, default="")


def _name(entry: Entry) -> str:
    return {"sass": "sm_", "ptx": "compute_", "other": "other_"}[entry.kind] + entry.arch


def _order(name: str) -> tuple[str, int, str]:
    kind, _, arch = name.partition("_")
    return kind, int(arch.rstrip("af")), arch
