"""Paths that several distributions of an image write: the same bytes, or a rule that says whose stay."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from scripts.assemble.layers import Distribution
from scripts.assemble.tree import Entry
from scripts.assemble.venv import site_packages
from scripts.errors import ConfigError
from scripts.lock.overlaps import find_overlaps
from scripts.matrix import Overlap


def settle(distributions: Sequence[Distribution], rules: Sequence[Overlap], python: str, place: str) -> list[Entry]:
    """The files that have to lie on top of all layers, because two layers have different bytes at their path.

    The lock was held against the same rules; this holds what is really laid down against them. Raises ConfigError with
    every path that no rule settles, and with every rule that settles none; `place` is the rules' own file.
    """
    modules = site_packages(python)
    entries = {
        item.files.name: {posixpath.relpath(entry.path, modules): entry for entry in item.files.entries}
        for item in distributions
    }
    hashes = {name: {path: entry.digest for path, entry in files.items()} for name, files in entries.items()}
    found = find_overlaps(hashes, rules, place)
    if found.problems:
        raise ConfigError(list(found.problems))
    return [entries[name][path] for path, name in sorted(found.kept.items())]
