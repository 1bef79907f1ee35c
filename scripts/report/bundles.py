"""A bundle's check, in one screen: each step, and then what was seen, by whom and where."""

from __future__ import annotations

from pathlib import Path

from scripts.bundle.check import Checked
from scripts.console import show
from scripts.model import Verdict
from scripts.report.verification import MARKS

_SAID = {Verdict.ACCEPTED: "it holds", Verdict.REJECTED: "refused", Verdict.INCONCLUSIVE: "not decided"}


def show_bundle(path: Path, found: Checked) -> None:
    """Its steps, whether it holds, and what it says. What others wrote is made harmless."""
    show(str(path))
    for result in found.results:
        show(f"{MARKS[result.outcome]} {result.check:<10} {result.detail}")
    bundle = found.bundle
    said = _SAID[found.verdict]
    if bundle and found.verdict is Verdict.ACCEPTED:
        host = max(bundle.evidence, key=lambda each: each.finished).host
        seen = f"{bundle.cell} {bundle.verdict}, on {host['gpu']}, driver {host['driver']}, {bundle.finished}"
        said += f": {bundle.owner} has seen {seen}"
    show(said)
