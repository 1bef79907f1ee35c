"""Libraries with GPU code: what a target can do with them, and what was left of them."""

from __future__ import annotations

from scripts.audit.coverage import UNKNOWN_DRIVER
from scripts.audit.judge import Audit
from scripts.console import show
from scripts.files import format_size
from scripts.model import Coverage, Target
from scripts.report.table import print_table
from scripts.slim.wheel.wheel import WheelReport


def show_audit(audit: Audit, subject: str, target: Target) -> None:
    """What a GPU can do with each library, the worst first, and the problems with what to do about them."""
    header = ["library", f"on {audit.compute}", "native", "JIT", "missing", "GPU code", "usable", "JIT from", "driver"]
    grades = list(Coverage)
    rows = [
        [
            row.path,
            row.coverage,
            str(row.native),
            str(row.jit),
            str(row.missing),
            format_size(row.size),
            format_size(row.usable),
            ", ".join(row.jit_from) or "–",
            (row.driver if row.driver == UNKNOWN_DRIVER else f"≥ {row.driver}") if row.driver else "–",
        ]
        for row in sorted(audit.libraries, key=lambda row: (-grades.index(row.coverage), row.path))
    ]
    print_table(header, rows)
    for reason, paths in _reasons(audit).items():
        show(f"accepted: {', '.join(paths)}: {reason}")
    for problem in audit.problems:
        show(*problem.lines("problem: "))
    if audit.driver:
        floor = "as new as that PTX" if audit.driver == UNKNOWN_DRIVER else f"{audit.driver} or newer"
        show(f"the driver compiles some of it at first use (JIT): it must be {floor}, and")
        show("  next: keep CUDA_CACHE_PATH on a volume, or every start compiles it again")
    verdict = "passed" if audit.passed else f"failed: {len(audit.problems)} problems"
    show(f"{subject} for {target.name} ({audit.compute}): {verdict}")


def _reasons(audit: Audit) -> dict[str, list[str]]:
    """The libraries by the reason for which the policy accepts less than native code of them."""
    reasons: dict[str, list[str]] = {}
    for row in audit.libraries:
        if row.reason and row.coverage is not Coverage.NATIVE:
            reasons.setdefault(row.reason, []).append(row.path.rpartition("/")[2])
    return reasons


def show_slimmed(slimmed: WheelReport) -> None:
    """What became of a wheel, library by library."""
    rows = [
        [
            name,
            format_size(library.before),
            format_size(library.after),
            f"{library.after / library.before:.2f}" if library.before else "–",
            str(library.containers),
            f"{library.removed} of {library.entries}",
            library.untouched or "–",
        ]
        for name, library in slimmed.libraries.items()
    ]
    if rows:
        print_table(["library", "before", "after", "ratio", "containers", "entries removed", "untouched because"], rows)
    if slimmed.wheel:
        show(f"{slimmed.wheel}: {format_size(slimmed.before)} became {format_size(slimmed.after)}")
    else:
        said = slimmed.refusal.lines() if slimmed.refusal else [slimmed.reason]
        show(f"{slimmed.source.name}: {said[0]}", *said[1:])
