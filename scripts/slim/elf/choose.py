"""Which entries of a fatbin container one GPU needs."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.gpucode import Entry, find_usable


def choose_entries(entries: Sequence[Entry], compute: str) -> list[int]:
    """The positions of the entries that a GPU of compute capability `compute` (`12.0`) could ever be given.

    - The driver takes machine code before PTX, and the newest that fits: so the native entries of the highest
      architecture, whatever their suffix, or else the PTX of the highest architecture that it can compile.
    - Where nothing fits, one entry stays as a stub, so that a launch still fails with "no kernel image is available",
      as it did before. Machine code is better for that than PTX, which fails with an error of its own.
    - What is neither machine code nor PTX stays: no rule says which GPU needs it.

    Raises ValueError for a `compute` that is not a compute capability.
    """
    _, usable = find_usable(entries, compute)
    others = (index for index, entry in enumerate(entries) if entry.kind == "other")
    return sorted({*(usable or _stub(entries)), *others})


def _stub(entries: Sequence[Entry]) -> list[int]:
    known = [index for index, entry in enumerate(entries) if entry.kind != "other"]
    return sorted(
        known, key=lambda index: (entries[index].kind != "sass", not entries[index].size, entries[index].stored_size)
    )[:1]
