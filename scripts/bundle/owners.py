"""What owners have sent: their runs as the repository keeps them, each checked anew whenever it is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.audit.evidence import summarise
from scripts.bundle.case import OWNERS
from scripts.bundle.check import Checked, check_bundle
from scripts.bundle.form import Bundle
from scripts.feed import Entry, cut_reasons
from scripts.model import Outcome, Result
from scripts.project import Project
from scripts.verdict import decide
from scripts.verify.tested import as_text

EARLIER_BUILD, EARLIER_SUITE = "of an earlier build", "by an earlier suite"
# What a run that was of its day's build and suite may no longer be, once these have moved on.
_MOVED_ON = frozenset({"build", "suite", "complete", "verdict", "times"})


@dataclass(frozen=True)
class OwnersRun:
    """A run that an owner sent, as a line of the feed; `earlier` says that it is not of today's build or suite."""

    entry: Entry
    file: str
    earlier: str = ""


def read_owners(project: Project, folders: Sequence[Path]) -> tuple[list[OwnersRun], list[str]]:
    """The runs under `FOLDER/owners/CELL/` that hold, or held for their build; and of the others, a line each for why.

    Raises ConfigError for a checkout whose locks are stale, where there is any run.
    """
    runs, unread = [], []
    for folder in folders:
        for path in sorted((folder / OWNERS).glob("*/*.json")):
            found = check_bundle(project, path)
            run = _keep(found, path)
            if run:
                runs.append(run)
            else:
                why = next(each.detail for each in found.results if each.check in found.failed)
                unread.append(f"{OWNERS}/{path.parent.name}/{path.name}: {why}")
    return sorted(runs, key=lambda run: run.entry.finished), unread


def merge_entries(feed: Iterable[Entry], runs: Iterable[OwnersRun]) -> list[Entry]:
    """The feed in its order, with what owners saw where it fell."""
    merged = list(feed)
    for run in runs:
        later = (place for place, entry in enumerate(merged) if entry.finished > run.entry.finished)
        merged.insert(next(later, len(merged)), run.entry)
    return merged


def _keep(found: Checked, path: Path) -> OwnersRun | None:
    bundle = found.bundle
    if bundle and not found.failed:
        return OwnersRun(_make_entry(bundle, bundle.reasons), path.name)
    moved_on = {"build", "suite"} & found.failed
    if bundle is None or not moved_on or not found.failed <= _MOVED_ON:
        return None
    # What its day's suite asked is not known here; that its own results do not contradict its verdict is.
    results = _list_results(bundle)
    verdict, reasons = decide(results, [each.check for each in results])
    if verdict is not bundle.verdict:
        return None
    earlier = EARLIER_BUILD if "build" in moved_on else EARLIER_SUITE
    return OwnersRun(_make_entry(bundle, tuple(reasons)), path.name, earlier)


def _list_results(bundle: Bundle) -> list[Result]:
    """The results that decide."""
    decisive = [each for each in bundle.evidence if each.scenario in bundle.required]
    return [summarise(bundle.audit), *(result for each in decisive for result in each.named)]


def _make_entry(bundle: Bundle, reasons: tuple[str, ...]) -> Entry:
    host = max(bundle.evidence, key=lambda each: each.finished).host
    results = _list_results(bundle)
    return Entry(
        cell=bundle.cell,
        build=bundle.build_id,
        digest=bundle.digest,
        verdict=bundle.verdict,
        reasons=cut_reasons([as_text(reason) for reason in reasons]),
        gpu=host["gpu"],
        driver=host["driver"],
        finished=bundle.finished,
        passed=sum(each.outcome is Outcome.PASSED for each in results),
        total=len(results),
        tool=as_text(bundle.tool),
        by=bundle.owner,
    )
