"""What happened to cells and their stamps, as the feed tells it."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.console import show
from scripts.feed import Entry
from scripts.report.table import print_table

HEADER = ["when", "cell", "verdict", "digest", "stamp", "checks", "seen on"]
_DIGITS = 12  # of a digest: enough to tell one from another


def show_history(traced: Sequence[tuple[Entry, str]]) -> None:
    """The verdicts, the oldest first, with what each did to its cell's stamp, and why below."""
    print_table(HEADER, [_row(entry, done) for entry, done in traced])
    for entry, _ in traced:
        for reason in entry.reasons:
            show(f"{entry.finished} {entry.cell}: {reason}")


def _row(entry: Entry, done: str) -> list[str]:
    digest = entry.digest.removeprefix("sha256:")[:_DIGITS] or "–"
    seen = f"{entry.gpu}, driver {entry.driver}" if entry.gpu else "–"
    seen += f", by {entry.by}" if entry.by else ""
    checks = f"{entry.passed} of {entry.total}"
    return [entry.finished, entry.cell, entry.said, digest, done, checks, seen]
