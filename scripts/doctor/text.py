"""Findings as lines for people, and as a report that can be shown to anyone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scripts import __version__
from scripts.doctor.examine import Examination
from scripts.doctor.seen import Finding, Mark
from scripts.redact import redact

MOST_LINES = 10  # when nothing is missing
_WIDTH = 10  # of a topic


def fit_findings(findings: Sequence[Finding]) -> list[Finding]:
    """The findings; where nothing is missing and they are many, one line for all of a topic."""
    if len(findings) <= MOST_LINES or any(finding.mark is Mark.MISSING for finding in findings):
        return list(findings)
    fitted: list[Finding] = []
    for finding in findings:
        if fitted and (fitted[-1].topic, fitted[-1].mark) == (finding.topic, finding.mark):
            fitted[-1] = replace(fitted[-1], text=f"{fitted[-1].text}; {finding.text}")
        else:
            fitted.append(finding)
    return fitted


def render_findings(findings: Sequence[Finding], *, next_steps: bool = True) -> list[str]:
    """A line for each finding, and below one that something is missing of what mends it."""
    lines = []
    for finding in fit_findings(findings):
        lines.append(f"{finding.mark} {finding.topic:<{_WIDTH}} {finding.text}")
        if next_steps and finding.mark is Mark.MISSING and finding.next_step:
            lines.append(f"  next: {finding.next_step}")
    return lines


def render_report(examination: Examination) -> list[str]:
    """The examination to be pasted into an issue: without names, paths, addresses and numbers of this machine."""
    if examination.private is None:
        findings = [f"{finding.mark} {finding.topic}" for finding in examination.findings]
        return [
            "```text",
            f"Hallmark {__version__}; what is private here is not known, so no more is said",
            *findings,
            "```",
        ]
    lines = [
        f"Hallmark {__version__}, revision {examination.revision}",
        examination.system,
        *render_findings(examination.findings, next_steps=False),
    ]
    return ["```text", *(redact(line, examination.private) for line in lines), "```"]
