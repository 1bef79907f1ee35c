"""verdict: results are reduced to accepted, rejected or inconclusive. What was not shown to pass did not pass."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.errors import ExitCode
from scripts.model import Outcome, Result, Verdict

EXIT_CODES = {
    Verdict.ACCEPTED: ExitCode.ACCEPTED,
    Verdict.REJECTED: ExitCode.REJECTED,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


def decide(results: Sequence[Result], required: Sequence[str]) -> tuple[Verdict, list[str]]:
    """The verdict, and a sentence for each reason that it is not `accepted`.

    Accepted: every required check is there by name and passed, and nothing at all failed.
    Inconclusive: nothing failed, but a check could not run. Anything else is rejected: no results, too.
    """
    failed = [f"{r.check}: {r.detail or 'failed'}" for r in results if r.outcome is Outcome.FAILED]
    if failed:
        return Verdict.REJECTED, failed
    errors = [f"{r.check}: {r.detail or 'could not run'}" for r in results if r.outcome is Outcome.ERROR]
    if errors:
        return Verdict.INCONCLUSIVE, errors
    passed = {r.check for r in results if r.outcome is Outcome.PASSED}
    skipped = {r.check for r in results if r.outcome is Outcome.SKIPPED}
    lacking = [name for name in required if name not in passed or name in skipped]
    reasons = [f"{name}: {'skipped, but required' if name in skipped else 'no result'}" for name in lacking]
    if not required:
        reasons.append("no check is required of this image, so nothing was shown")
    return (Verdict.REJECTED, reasons) if reasons else (Verdict.ACCEPTED, [])
