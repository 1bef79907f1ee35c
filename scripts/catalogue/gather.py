"""From the matrix, the locks, the feed and the evidence to what the catalogue says of each cell. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from scripts.attest.build import Licences
from scripts.attest.sbom import list_contents
from scripts.audit.evidence import AUDIT
from scripts.bundle.owners import OwnersRun, merge_entries, read_owners
from scripts.catalogue.layers import Shared, find_shared
from scripts.catalogue.manual import read_commands
from scripts.catalogue.read import Found, read_comparisons, read_folders, read_runs
from scripts.catalogue.types import STATES, Build, Catalogue, CellPage, Standing, State
from scripts.compare.types import Comparison
from scripts.errors import ConfigError
from scripts.feed import Entry, find_retired, read_feed
from scripts.fetch import Cache
from scripts.model import Outcome, Verdict
from scripts.pipeline import CellVerdict, Job, Options, Stage, make_jobs
from scripts.pipeline.described import describe_job, licences_in
from scripts.pipeline.judge import judge_cell, required_checks
from scripts.plan import make_plan
from scripts.project import Project
from scripts.smoke.smoke import identify

COMPARISONS = "compare"  # the folder of them, beside those of cells


def gather(project: Project, folders: Sequence[Path], feeds: Sequence[Path], registry: str = "") -> Catalogue:
    """All that is known of every cell. Raises ConfigError for stale locks, and for what is not there."""
    plan = make_plan(project.matrix)
    ready = [planned for planned in plan if not planned.gap]
    jobs = make_jobs(project.matrix, ready, project.build_options(), Stage.PUBLISH, Options())
    cells = [job.cell.id for job in jobs]
    found = Found()
    read_folders(folders, cells, found)
    read_runs(project.workspace, cells, found)
    kept = [*(folder / COMPARISONS for folder in folders), project.workspace.comparisons]
    read_comparisons(kept, project.matrix.targets, found)
    owners, unread = read_owners(project, folders)
    found.unread += unread
    feed = merge_entries(_read_feeds(project, feeds, found), owners)
    pages = [
        _gather_cell(
            job,
            judge_cell(project.workspace, job),
            found.builds.get(job.cell.id, {}),
            tuple(entry for entry in feed if entry.cell == job.cell.id),
            tuple(each.cell.id for each in jobs if each.step.name == job.step.name and each is not job),
            registry,
            tuple(run for run in owners if run.entry.cell == job.cell.id),
        )
        for job in jobs
    ]
    licences = cache(licences_in(Cache(project.site.cache)))
    comparisons = tuple(found.comparisons.values())
    pages = [
        replace(
            page,
            shared=_find_shared(page, pages),
            contents=_list_contents(page, licences),
            compared=_find_compared(page, comparisons),
        )
        for page in pages
    ]
    gaps = tuple(planned for planned in plan if planned.gap)
    return Catalogue(project.matrix, tuple(pages), tuple(feed), gaps, registry, tuple(found.unread), comparisons)


def _find_compared(page: CellPage, comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    return tuple(each for each in comparisons if page.cell.id in {column.cell for column in each.columns})


def _find_shared(page: CellPage, pages: Sequence[CellPage]) -> tuple[Shared, ...]:
    """With cells of other candidates: those of its own have the same bytes, and are named as such."""
    others = [each for each in pages if each.shown and each.job.step.name != page.job.step.name]
    known = [(each.cell.id, each.shown.layers) for each in others if each.shown]
    return find_shared(page.shown.layers, known) if page.shown else ()


def _list_contents(page: CellPage, licences: Licences) -> dict[str, Any]:
    """The SBOM of what this checkout builds: of the digest that is shown, where that is the one."""
    build = describe_job(page.job)
    known = page.shown.digest if page.shown and page.standing is Standing.CURRENT else ""
    return list_contents(build, known or f"build:{build.build_id}", licences)


def _read_feeds(project: Project, files: Sequence[Path], found: Found) -> list[Entry]:
    for file in files:
        if not file.is_file():
            raise ConfigError("there is no such feed", str(file), "give a feed.jsonl")
    entries: list[Entry] = []
    for file in (project.workspace.feed, *files):
        read, unread = read_feed(file)
        entries += [entry for entry in read if entry not in entries]
        if unread:
            found.unread.append(f"{file.name}: {unread} lines that this version does not read")
    return sorted(entries, key=lambda entry: entry.finished)


def _gather_cell(
    job: Job,
    judged: CellVerdict,
    builds: Mapping[str, Build],
    history: tuple[Entry, ...],
    siblings: tuple[str, ...],
    registry: str,
    owners: tuple[OwnersRun, ...],
) -> CellPage:
    ours = tuple(entry for entry in history if not entry.by)
    known = _add_history(builds, ours)
    own = [entry.digest for entry in ours if entry.build == job.step.build_id]
    current = judged.digest or (own[-1] if own else "")
    shown = known.get(current) or max(known.values(), key=lambda each: each.finished, default=None)
    standing = _place(job, shown, current) if shown else Standing.CURRENT
    if judged.verdict is not Verdict.INCONCLUSIVE:
        state, reasons, standing = STATES[judged.verdict], judged.reasons, Standing.CURRENT
        shown = known.get(judged.digest)
    elif shown and shown.digest == judged.digest:
        state, reasons = State.UNDECIDED, judged.reasons
    elif shown:
        verdict, reasons = judge_build(job, shown)
        state = STATES[verdict]
    else:
        state, reasons = (State.UNDECIDED if current else State.NOT_BUILT), judged.reasons
    state, seen = _hear_owners(state, owners)
    if retired := find_retired(ours).get(job.cell.id):
        state, seen = State.RETIRED, (f"retired on {retired.finished[:10]}: {'; '.join(retired.reasons)}", *seen)
    others = sorted((each for each in known.values() if each is not shown), key=lambda each: each.finished)
    return CellPage(
        job,
        state,
        standing,
        (*seen, *reasons),
        shown,
        tuple(reversed(others)),
        history,
        find_versions(job),
        siblings,
        list_not_run(job, shown),
        read_commands(job, registry),
        owners,
    )


def _hear_owners(state: State, owners: Sequence[OwnersRun]) -> tuple[State, tuple[str, ...]]:
    """The state with what owners have seen of today's build, where we have nothing to say ourselves; and who saw what.

    One of them that did not see it pass is enough for nothing to be said for it.
    """
    today = [run.entry for run in owners if not run.earlier]
    against = [entry for entry in today if entry.verdict is not Verdict.ACCEPTED]
    said = tuple(f"{entry.by} has seen it {entry.verdict}, which moves no tag of ours" for entry in against)
    if not today or state not in (State.NOT_BUILT, State.UNDECIDED):
        return state, said
    if against:
        return State.UNDECIDED, said
    names = ", ".join(dict.fromkeys(entry.by for entry in today))
    return State.OWNERS, (f"seen to pass by {names}, and not by us: that gives no tag",)


def _add_history(builds: Mapping[str, Build], history: Sequence[Entry]) -> dict[str, Build]:
    """The builds with what the feed says last of each, and those that the feed alone knows."""
    known = dict(builds)
    for entry in history:
        if entry.digest and not entry.service:
            build = known.get(entry.digest, Build(entry.digest))
            said = max(entry.finished, build.said)
            known[entry.digest] = replace(build, verdict=entry.verdict, reasons=entry.reasons, said=said)
    return known


def _place(job: Job, build: Build, current: str) -> Standing:
    """Whether a build is this checkout's, judged by its suite. What cannot be shown is not claimed."""
    if current and build.digest != current:
        return Standing.EARLIER_BUILD
    if any(not is_todays(job, build, each.scenario) for each in build.evidence):
        return Standing.EARLIER_SUITE
    return Standing.CURRENT if current else Standing.UNPLACED


def is_todays(job: Job, build: Build, name: str) -> bool:
    """Whether the evidence of a scenario asked what this checkout's suite asks."""
    asked = {each.scenario: each.smoke_id for each in build.evidence}
    scenario = next((each for each in job.scenarios if each.name == name), None)
    return scenario is not None and asked.get(name) == identify(job.cell, job.planned.image, scenario, build.digest)


def judge_build(job: Job, build: Build) -> tuple[Verdict, tuple[str, ...]]:
    """What was written down of a build; else what its evidence comes to, held against the checks of today's suite.

    Smoke tests follow an audit that passed, so its record need not be there. A check that is missing was not shown to
    fail either: that is undecided.
    """
    if build.verdict:
        return build.verdict, build.reasons
    optional = {each.name for each in job.scenarios if not each.required}
    results = [result for each in build.evidence if each.scenario not in optional for result in each.named]
    failed = [each for each in results if each.outcome is Outcome.FAILED]
    if failed:
        return Verdict.REJECTED, tuple(f"{each.check}: {each.detail or 'failed'}" for each in failed)
    passed = {each.check for each in results if each.passed}
    lacking = [check for check in required_checks(job.cell, job.scenarios) if check not in passed and check != AUDIT]
    if lacking or not passed:
        return Verdict.INCONCLUSIVE, tuple(f"{check}: not shown by this evidence" for check in lacking)
    return Verdict.ACCEPTED, ()


def find_versions(job: Job) -> dict[str, str]:
    """Upstream's version, PyTorch's as it is locked or compiled, CUDA's and Python's."""
    recipe, cell = job.planned.recipe, job.cell
    found = {cell.image: recipe.version if recipe else ""}
    compiled = {each.component.distribution: each.component.version for each in job.step.compiled}
    locked = {file.name: file.version for file in job.step.wheels} | compiled
    if cell.image != "pytorch" and "torch" in locked:
        found["PyTorch"] = locked["torch"]
    if cell.cuda:
        found["CUDA"] = cell.cuda.toolkit
    return found | {"Python": job.step.python}


def list_not_run(job: Job, build: Build | None) -> dict[str, str]:
    """Scenarios and checks that nothing was seen of for this cell, each with why."""
    seen = {each.scenario: each for each in build.evidence} if build else {}
    found = {}
    for scenario in job.planned.image.scenarios:
        if scenario.name in seen:
            continue
        absence = scenario.find_absence(job.cell)
        found[scenario.name] = f"not for this cell: {absence.reason}" if absence else "there is no evidence of it"
    for each in seen.values():
        for result in each.named:
            if result.outcome in (Outcome.SKIPPED, Outcome.ERROR):
                found[result.check] = f"{result.outcome}: {result.detail or 'no reason was given'}"
    if build and job.cell.target.has_gpu and not build.audit:
        found[AUDIT] = "its record is not among this evidence"
    return found
