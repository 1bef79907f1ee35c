"""A candidate that was tested elsewhere: judged anew from its evidence, and tagged in the registry.

Nothing is built, pulled or run, and no engine is needed. What can be asked here is not believed: whether the digest is
in the registry with all its layers, that it was built from this checkout's inputs, that the evidence is of this digest
and of today's suite, that nothing is missing, and that a consumer would accept what is going to be said of it.
"""

from __future__ import annotations

import time
from pathlib import Path

from scripts.attest.statement import TEST_RESULT, make_statement, read_statement
from scripts.console import step as announce
from scripts.errors import HallmarkError, Problem, Undecided
from scripts.feed import append_entry
from scripts.files import write_atomic
from scripts.model import Verdict
from scripts.oci.blobs import read_json_blob
from scripts.oci.descriptor import parse_object
from scripts.oci.image import OciImage, check_config
from scripts.pipeline.candidate import Candidate, write_candidate
from scripts.pipeline.dossier import make_dossier, take_back
from scripts.pipeline.expected import expect
from scripts.pipeline.job import UNKNOWN, CellReport, Job
from scripts.pipeline.judge import (
    AUDIT_FILE,
    CellVerdict,
    judge_cell,
    recall_audit,
    recall_scenarios,
)
from scripts.pipeline.receive import require_same_inputs
from scripts.pipeline.record import make_entry
from scripts.pipeline.service import require_service
from scripts.project import Project
from scripts.publish.proof import describe_proof
from scripts.publish.stamp import Dossier, name_repository, stamp_candidate
from scripts.reference import Repository
from scripts.registry.client import Registry
from scripts.registry.store import RegistryStore, find_image
from scripts.smoke.smoke import evidence_file
from scripts.verdict import EXIT_CODES
from scripts.verify.tested import GOOD, Refusal, check_target, check_tests, read_tested
from scripts.workspace import Workspace

LARGEST = 1 << 24  # bytes of one file of evidence; the largest that there was is of an audit, and a tenth of this


def promote_tested(project: Project, job: Job, folder: Path, registry: Registry) -> CellReport:
    """Tag a job's digest in the site's registry, if the evidence in a folder shows that it passed.

    The folder is what another machine has in `.hallmark/runs`. The verdict goes into this checkout's feed, whatever it
    is, and what was rejected loses its moving tags. Whatever fails ends the cell: no tag is set.
    """
    started = time.monotonic()
    verdict: CellVerdict | None = None
    tag, size, problems = "", 0, tuple[Problem, ...]()
    try:
        with project.workspace.claim(f"promote-{job.cell.id}") as work, announce(job.cell.id, "promote"):
            repository = name_repository(project.site.registry, job.planned.image.name)
            image = require_candidate(registry, repository, job)
            size = image.size
            claimed = Workspace(work)
            take_evidence(job, folder, claimed, image)
            verdict = judge_cell(claimed, job)
            entry, lock = make_entry(claimed, job, verdict), project.workspace.locks / "feed.lock"
            append_entry(project.workspace.feed, entry, lock)
            if verdict.verdict is not Verdict.INCONCLUSIVE:
                dossier = recall_dossier(project, job, claimed)
                _require_plausible(job, dossier, f"{repository}@{image.digest}")
                if verdict.verdict is Verdict.ACCEPTED:
                    require_service(project, job.planned, registry)
                tag = _follow(project, verdict, dossier, image, registry, repository)
        code = EXIT_CODES[verdict.verdict]
        problems = tuple(Problem(reason, job.cell.id, f"read what is in {folder}") for reason in verdict.reasons)
    except HallmarkError as error:
        code, problems = error.exit_code, tuple(error.problems)
    return CellReport(
        cell=job.cell.id,
        build="elsewhere",
        smoke="elsewhere" if verdict else UNKNOWN,
        verdict=verdict.verdict if verdict else "undecided",
        digest=job.options.digest,
        size=size,
        seconds=time.monotonic() - started,
        tag=tag,
        exit_code=code,
        problems=problems,
    )


def require_candidate(registry: Registry, repository: Repository, job: Job) -> OciImage:
    """The image of a job's digest, as the registry has it. Raises Undecided unless all of it is there, and is ours."""
    digest = job.options.digest
    place = f"{repository}@{digest}"
    _, image = find_image(registry, repository, digest, place)
    if image.digest != digest:
        raise Undecided("it is an index, and a candidate is one image", place, "give the digest of the image in it")
    config = read_json_blob(RegistryStore(registry, repository), image.config, place)
    check_config(config, image, place)
    require_same_inputs(parse_object(config), digest, job.step)
    for layer in image.layers:
        if not registry.has_blob(repository, layer.digest, layer.size):
            raise Undecided(f"the registry lacks its layer {layer.digest}", place, "push the candidate again")
    return image


def take_evidence(job: Job, folder: Path, workspace: Workspace, image: OciImage) -> None:
    """Copy a job's evidence into an empty workspace: the files that a verdict reads, by name, and nothing else."""
    source = folder / job.step.build_id
    wanted = [(source / AUDIT_FILE, job.build_folder(workspace) / AUDIT_FILE)]
    for scenario in job.scenarios:
        here = evidence_file(job.cell_folder(workspace), scenario.name)
        wanted.append((evidence_file(source / job.cell.id, scenario.name), here))
    for there, here in wanted:
        if there.is_file() and not there.is_symlink() and there.stat().st_size <= LARGEST:
            write_atomic(here, there.read_bytes())
    write_candidate(workspace, Candidate(job.step.name, job.step.build_id, image.digest, image.size, 0.0))


def recall_dossier(project: Project, job: Job, claimed: Workspace) -> Dossier:
    """What is to be said of a job's digest, by the evidence in a workspace."""
    digest = job.options.digest
    audit = recall_audit(claimed, job, digest) if job.cell.target.has_gpu else None
    evidence = tuple(recall_scenarios(claimed, job, digest).values())
    return make_dossier(project, job, [audit] if audit else [], evidence)


def _require_plausible(job: Job, dossier: Dossier, place: str) -> None:
    """Raise Undecided where a consumer would not believe the evidence: seen on another GPU, or checks of its own."""
    predicate, expected = describe_proof(dossier.proof, dossier.tags.all, {}), expect(job.planned)
    try:
        statement = make_statement(place, job.options.digest, TEST_RESULT, predicate)
        tested = read_tested(read_statement(statement))
        check_target(tested, expected)
        if tested.result in GOOD:
            check_tests(tested, expected)
    except (Refusal, ValueError) as refusal:
        cause = f"a consumer would refuse this evidence: {refusal}"
        raise Undecided(cause, job.cell.id, "test the candidate again, on a machine that can be trusted") from refusal


def _follow(
    project: Project,
    verdict: CellVerdict,
    dossier: Dossier,
    image: OciImage,
    registry: Registry,
    repository: Repository,
) -> str:
    """Set the tags of what was accepted, and take the moving ones off what was rejected; the tag that was set."""
    if verdict.verdict is Verdict.ACCEPTED:
        return stamp_candidate(registry, repository, image.manifest, dossier, project.workspace.locks)
    take_back(project, registry, repository, verdict, dossier)
    return ""
