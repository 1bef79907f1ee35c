"""What is said of a candidate in a registry, and what becomes of its tag once it was rejected."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.attest.seal import open_sealer
from scripts.console import note
from scripts.feed import cut_reasons
from scripts.fetch import Cache
from scripts.model import Result
from scripts.pipeline.described import describe_job, licences_in
from scripts.pipeline.job import Job
from scripts.pipeline.judge import CellVerdict, required_checks
from scripts.project import Project
from scripts.publish.proof import Proof
from scripts.publish.stamp import Dossier, name_tags, withdraw_registry
from scripts.reference import Repository
from scripts.registry.client import Registry
from scripts.smoke.smoke import Evidence


def make_dossier(project: Project, job: Job, results: Sequence[Result], evidence: Sequence[Evidence]) -> Dossier:
    """What the audits' results and the scenarios' evidence have to say of a job's candidate, and what signs here."""
    return Dossier(
        name_tags(job.planned, job.step.build_id),
        Proof(job.cell, required_checks(job.cell, job.scenarios), tuple(results), *job.part(evidence)),
        describe_job(job),
        licences_in(Cache(project.site.cache)),
        open_sealer(project.site),
    )


def take_back(
    project: Project, registry: Registry, repository: Repository, verdict: CellVerdict, dossier: Dossier
) -> None:
    """Withdraw the moving tags from a digest that was rejected, and say so. Raises Undecided."""
    [reason, *_] = cut_reasons(verdict.reasons) or ("no reason was given",)
    why, locks = f"rejected: {reason}", project.workspace.locks
    for tag in withdraw_registry(registry, repository, verdict.digest, dossier, why, locks):
        if tag in dossier.tags.moving:
            note(f"{verdict.cell}: no longer accepted, so {repository}:{tag} was withdrawn")
