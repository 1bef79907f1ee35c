"""An audit as JSON for machines, as evidence beside a build, and as one result among those that decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.audit.judge import Audit
from scripts.files import content_id, parse_json, write_json
from scripts.matrix import AuditRule
from scripts.model import Coverage, LockedFile, Outcome, Result, Target

VERSION = 1
_PROBLEM = ("cause", "place", "next_step")
AUDIT = "audit"


def render_audit(audit: Audit, subject: str, target: Target, digest: str = "") -> dict[str, Any]:
    """The audit as JSON values; tests/data/audit.schema.json describes them. Sizes are in bytes."""
    return {
        "version": VERSION,
        "subject": subject,
        "digest": digest or None,
        "target": {"id": target.id, "name": target.name, "compute": audit.compute},
        "passed": audit.passed,
        "driver": audit.driver or None,
        "libraries": [asdict(library) for library in audit.libraries],
        "problems": [{key: getattr(each, key) for key in _PROBLEM} for each in audit.problems],
    }


def identify_audit(digest: str, target: Target, rules: Sequence[AuditRule]) -> str:
    """The content id of an audit: of another image, for another GPU, or by other rules, it is another one."""
    return content_id(
        {
            "version": VERSION,
            "digest": digest,
            "compute": target.compute,
            "rules": [[rule.accept, list(rule.libraries)] for rule in rules],
        }
    )


def identify_wheels(files: Sequence[LockedFile], target: Target, rules: Sequence[AuditRule]) -> str:
    """As `identify_audit`, of the wheels that go into an image."""
    return identify_audit(content_id(sorted(file.sha256 for file in files)), target, rules)


def write_audit(path: Path, audit_id: str, report: dict[str, Any]) -> None:
    """Keep a report as a file of a build's folder."""
    write_json(path, {"audit_id": audit_id} | report)


def read_report(path: Path, audit_id: str) -> dict[str, Any] | None:
    """The report of an earlier audit that asked the very same; damaged evidence is none."""
    try:
        report = parse_json(path.read_bytes())
        if report["audit_id"] != audit_id:
            return None
        summarise(report)
        return dict(report)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_audit(path: Path, audit_id: str) -> Result | None:
    """The result of an earlier audit that asked the very same; damaged evidence is none."""
    report = read_report(path, audit_id)
    return summarise(report) if report else None


def summarise(report: dict[str, Any]) -> Result:
    """A report as one result: passed only with libraries in it and without a problem."""
    counts = Counter(library["coverage"] for library in report["libraries"])
    passed = report["passed"] is True and counts and report["problems"] == []
    outcome = Outcome.PASSED if passed else Outcome.FAILED
    detail = ", ".join(f"{counts[grade]} {grade}" for grade in Coverage if counts[grade]) or "no GPU code"
    if report["problems"]:
        detail += "; " + "; ".join(f"{problem['place']}: {problem['cause']}" for problem in report["problems"])
    return Result(AUDIT, outcome, detail, {"libraries": len(report["libraries"]), "driver": report["driver"] or ""})
