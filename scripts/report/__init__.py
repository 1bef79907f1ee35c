"""What people read at the end: tables, and the problems under them."""

from scripts.report.bundles import show_bundle
from scripts.report.cells import show_cells, show_plan, show_reproductions, show_verdicts
from scripts.report.comparison import show_comparison
from scripts.report.garbage import show_garbage
from scripts.report.history import show_history
from scripts.report.libraries import show_audit, show_slimmed
from scripts.report.proposals import show_proposals
from scripts.report.runners import show_drawn
from scripts.report.sizes import show_sizes
from scripts.report.verification import render_verification, show_verification

__all__ = [
    "render_verification",
    "show_audit",
    "show_bundle",
    "show_cells",
    "show_comparison",
    "show_drawn",
    "show_garbage",
    "show_history",
    "show_plan",
    "show_proposals",
    "show_reproductions",
    "show_sizes",
    "show_slimmed",
    "show_verdicts",
    "show_verification",
]
