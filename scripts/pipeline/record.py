"""What the feed is told of a verdict: the checks behind it, the GPU that it was seen on, and when."""

from __future__ import annotations

import time

from scripts import __version__
from scripts.feed import Entry, append_entry, cut_reasons
from scripts.pipeline.job import Job
from scripts.pipeline.judge import CellVerdict, recall_audit, recall_scenarios, required_checks
from scripts.workspace import Workspace


def record_verdict(workspace: Workspace, job: Job, verdict: CellVerdict) -> bool:
    """Append a verdict to the checkout's feed; False where it repeats what the feed says already. Raises Undecided."""
    return append_entry(workspace.feed, make_entry(workspace, job, verdict), workspace.locks / "feed.lock")


def make_entry(workspace: Workspace, job: Job, verdict: CellVerdict) -> Entry:
    """The feed's line for a verdict. What fell before anything ran has this moment as its time."""
    known = recall_scenarios(workspace, job, verdict.digest)
    seen, _ = job.part(tuple(known.values()))
    results = [result for each in seen for result in each.named]
    if job.cell.target.has_gpu and (audit := recall_audit(workspace, job, verdict.digest)):
        results.append(audit)
    passed = {result.check for result in results if result.passed}
    required = required_checks(job.cell, job.scenarios)
    host = max(seen, key=lambda each: each.finished).host if seen else {}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Entry(
        cell=verdict.cell,
        build=job.step.build_id,
        digest=verdict.digest,
        verdict=verdict.verdict,
        reasons=cut_reasons(verdict.reasons),
        gpu=host.get("gpu", ""),
        driver=host.get("driver", ""),
        finished=max((each.finished for each in seen), default=now),
        passed=sum(check in passed for check in required),
        total=len(required),
        tool=__version__,
    )
