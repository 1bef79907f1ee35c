"""What an update would change, or has changed."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.console import show
from scripts.files import format_size
from scripts.report.table import append_step_summary, print_table
from scripts.update.propose import Change, Proposal

HEADER = ["image", "recipe", "now", "newest", "wheels", "new bytes", ""]
_NOTHING = "–"


def show_proposals(proposals: Sequence[Proposal]) -> None:
    """A row for each recipe, and below the versions that change where there is a newer one."""
    rows = [_row(each) for each in proposals]
    print_table(HEADER, rows)
    append_step_summary(HEADER, rows)
    for proposal in proposals:
        if proposal.changes:
            show("", f"{proposal.image} {' '.join(proposal.key)}")
            for change in proposal.changes:
                show(f"  {_describe(change)}")


def _row(proposal: Proposal) -> list[str]:
    if not proposal.is_newer:
        newest = [_NOTHING] * 3
    else:
        share = f"{format_size(proposal.moved)} of {format_size(proposal.total)}"
        newest = [proposal.version, f"{len(proposal.changes)} changes", share]
    return [proposal.image, " ".join(proposal.key), proposal.before, *newest, proposal.why]


def _describe(change: Change) -> str:
    why = f" ({change.why})" if change.why else ""
    if not change.before:
        return f"{change.name} {change.after} comes{why}"
    if not change.after:
        return f"{change.name} {change.before} goes{why}"
    return f"{change.name} {change.before} → {change.after}{why}"
