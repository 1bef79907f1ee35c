"""Which distributions share a layer."""

from __future__ import annotations

from collections.abc import Sequence

LARGE = 30_000_000  # bytes as installed; a smaller distribution costs more as a layer than as a part of one
_MOST = 100  # layers of distributions; an engine's overlay holds 127, and some are the base's and the shell's


def group(distributions: Sequence[tuple[str, int]], large: int = LARGE, most: int = _MOST) -> list[tuple[str, ...]]:
    """Names by layer: each distribution of `large` bytes or more has its own, and the others share the last.

    Takes (name, bytes as installed) in any order. Where that would make more than `most` layers, only the largest have
    their own. Sorted by name, so that the answer depends on nothing but the set.
    """
    names = [name for name, _ in distributions]
    if len(set(names)) != len(names):
        raise ValueError("a distribution is listed twice")
    alone = sorted((-size, name) for name, size in distributions if size >= large)
    if len(alone) + (len(alone) < len(names)) > most:
        alone = alone[: most - 1]
    own = {name for _, name in alone}
    rest = tuple(sorted(set(names) - own))
    return [(name,) for name in sorted(own)] + ([rest] if rest else [])
