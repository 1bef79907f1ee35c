"""What a build leaves of a cell of this checkout, and what its test would show: made, and not run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from scripts.audit.evidence import identify_audit
from scripts.feed import VERSION as FEED
from scripts.feed import Entry
from scripts.matrix import load_matrix
from scripts.model import Outcome, Result, Verdict
from scripts.pipeline import Job, Options, Stage, make_jobs
from scripts.pipeline.candidate import Candidate
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.site import Site
from scripts.smoke.smoke import VERSION, Evidence, identify
from scripts.smoke.trial import CONTAINER
from scripts.smoke.watch import WATCHED
from scripts.verdict import EXIT_CODES
from scripts.workspace import Workspace
from tests.workflows.machine import ROOT

OUTCOMES = {Verdict.ACCEPTED: Outcome.PASSED, Verdict.REJECTED: Outcome.FAILED, Verdict.INCONCLUSIVE: Outcome.ERROR}


def make_cells(*names: str) -> dict[str, Any]:
    """For each cell what `standins.py` lays out: the files of its build, and of its test by the exit code of that."""
    project = Project(load_matrix(ROOT), Site("auto", "", (), (), ROOT), Workspace(ROOT))
    plan = make_plan(project.matrix, Selection(list(names)))
    return {
        job.cell.id: _make(job)
        for job in make_jobs(project.matrix, plan, project.build_options(), Stage.PUBLISH, Options())
    }


def _make(job: Job) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(job.step.name.encode()).hexdigest()}"
    built: dict[str, Any] = {"build.json": asdict(Candidate(job.step.name, job.step.build_id, digest, 1, 1.0))}
    if job.cell.target.has_gpu:
        audit_id = identify_audit(digest, job.cell.target, job.rules)
        one = {"path": "lib/x.so", "coverage": "native"}
        built["audit.json"] = {
            "audit_id": audit_id,
            "digest": digest,
            "passed": True,
            "driver": None,
            "libraries": [one],
            "problems": [],
        }
    return {
        "id": job.cell.id,
        "candidate": job.cell.candidate,
        "image": job.cell.image,
        "build": job.step.build_id,
        "digest": digest,
        "built": {name: json.dumps(content) for name, content in built.items()},
        "shown": {str(int(EXIT_CODES[verdict])): _show(job, digest, outcome) for verdict, outcome in OUTCOMES.items()},
        "feed": {str(int(EXIT_CODES[verdict])): _say(job, digest, verdict) for verdict in OUTCOMES},
    }


def _show(job: Job, digest: str, outcome: Outcome) -> Mapping[str, str]:
    """The files of a cell's scenarios, in which every check came to the same."""
    files = {}
    for scenario in job.scenarios:
        ours = (CONTAINER, WATCHED) if job.cell.target.has_gpu else (CONTAINER,)
        results = tuple(Result(check, outcome, "made for a test") for check in (*scenario.checks, *ours))
        host = {"cpu": "some", "kernel": "6.1", "engine": "28"}
        host |= {"gpu": job.cell.target.name, "driver": "580.95.05"} if job.cell.target.has_gpu else {}
        asked = identify(job.cell, job.planned.image, scenario, digest)
        evidence = Evidence(scenario.name, asked, digest, results, 1.0, "2026-01-02T03:04:05Z", host)
        files[f"smoke/{scenario.name}.json"] = json.dumps({"version": VERSION} | asdict(evidence))
    return files


def _say(job: Job, digest: str, verdict: Verdict) -> str:
    entry = Entry(job.cell.id, job.step.build_id, digest, verdict, (), "", "", "2026-01-02T03:04:05Z", 1, 1, "0")
    return json.dumps({"version": FEED} | asdict(entry))
