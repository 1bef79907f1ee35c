"""Whether a bundle answers today's questions, all of them and no others, and amounts to what it claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from scripts.audit.evidence import identify_audit, summarise
from scripts.bundle.case import Case
from scripts.matrix import Scenario
from scripts.model import Outcome, Result
from scripts.pipeline.judge import judge_evidence
from scripts.smoke.smoke import Evidence, identify, name_check
from scripts.smoke.trial import CONTAINER, PROTOCOL
from scripts.smoke.watch import WATCHED
from scripts.verify.tested import Refusal, list_some


def check_suite(case: Case) -> str:
    """Whether every scenario, and the audit, asked exactly what this checkout asks."""
    job, said = case.asked, case.said
    today = {each.name: identify(job.cell, job.planned.image, each, said.digest) for each in job.scenarios}
    older = [each.scenario for each in said.evidence if today.get(each.scenario, each.smoke_id) != each.smoke_id]
    if older:
        raise Refusal(f"of another suite than this checkout's: {list_some(older)}")
    if said.audit.get("audit_id") != identify_audit(said.digest, job.cell.target, job.rules):
        raise Refusal("its audit is by other rules than this checkout's")
    return "what was asked is what this checkout asks"


def check_complete(case: Case) -> str:
    """Whether there is a result for each required check of each required scenario, and none that nobody asked for."""
    asked = {each.name: each for each in case.asked.scenarios}
    there = Counter(each.scenario for each in case.said.evidence)
    _refuse("these scenarios stand there twice", (name for name, count in there.items() if count > 1))
    _refuse("these scenarios are not this cell's", there.keys() - asked.keys())
    required = {each.name for each in asked.values() if each.required}
    _refuse("these scenarios are missing", required - there.keys())
    if set(case.said.required) != required:
        raise Refusal(f"these scenarios decide: {list_some(sorted(required))}; and it names others")
    for evidence in case.said.evidence:
        _check_scenario(asked[evidence.scenario], evidence)
    return f"{len(there)} scenarios, {sum(len(each.results) for each in case.said.evidence)} results"


def _check_scenario(scenario: Scenario, evidence: Evidence) -> None:
    """A scenario's checks. Where container or GPU did not end well, some may be missing: that is a result."""
    wanted = {*scenario.checks, CONTAINER, WATCHED}
    named = Counter(each.check for each in evidence.results if not _is_noise(each))
    _refuse("these checks stand there twice", _name(scenario, (name for name, count in named.items() if count > 1)))
    _refuse("nobody asked for these checks", _name(scenario, named.keys() - wanted))
    skipped = [each.check for each in evidence.results if each.outcome is Outcome.SKIPPED]
    _refuse("these checks were skipped", _name(scenario, skipped))
    ended = {each.check: each.passed for each in evidence.results}
    missing = wanted - named.keys()
    broken = not all(ended.get(name, True) for name in (CONTAINER, WATCHED)) and ended.keys() & {CONTAINER, WATCHED}
    if missing and not broken:
        _refuse("these checks are missing", _name(scenario, missing))


def _is_noise(result: Result) -> bool:
    """Whether it is what the host says of a line that was none of the script's results; it is never good."""
    return result.check == PROTOCOL and result.outcome is Outcome.FAILED


def check_verdict(case: Case) -> str:
    """Whether its results come to its verdict, by this project's own judge."""
    said = case.said
    known = {each.scenario: each for each in said.evidence}
    found = judge_evidence(case.asked, said.digest, summarise(said.audit), known)
    if found.verdict is not said.verdict:
        because = f": {list_some(found.reasons, 2)}" if found.reasons else ""
        raise Refusal(f"it says {said.verdict}, and its results come to {found.verdict}{because}")
    if found.reasons != said.reasons:
        raise Refusal("the reasons that it gives are not those of its results")
    return f"{said.verdict}, as its results come to"


def _name(scenario: Scenario, checks: Iterable[str]) -> list[str]:
    return [name_check(scenario.name, check) for check in checks]


def _refuse(words: str, names: Iterable[str]) -> None:
    if found := sorted(names):
        raise Refusal(f"{words}: {list_some(found)}")
