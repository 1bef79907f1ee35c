"""A bundle of what this machine's GPU has shown of a cell, put together and written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from scripts import __version__
from scripts.attest.keys import open_signer
from scripts.audit.evidence import identify_audit, read_report, summarise
from scripts.bundle.form import LARGEST, LONGEST_NAME, Bundle, Run, is_name, render_bundle
from scripts.bundle.redacted import make_redactor
from scripts.errors import ConfigError, Undecided
from scripts.files import write_atomic
from scripts.pipeline import Bench, Job
from scripts.pipeline.candidate import Candidate, read_candidate
from scripts.pipeline.described import describe_job
from scripts.pipeline.judge import AUDIT_FILE, judge_evidence, recall_scenarios
from scripts.pipeline.obtain import obtain_layout
from scripts.redact import Private, add_private, find_private
from scripts.smoke.smoke import log_file

_RUN = "run the same command again, and see what it says: a bundle is of what was run, red scenarios too"


def check_request(jobs: Sequence[Job], path: Path, by: str) -> None:
    """Raise ConfigError, before the hours of work, for what no bundle could be written of, or to."""
    names = ", ".join(job.cell.id for job in jobs)
    if len(jobs) != 1:
        raise ConfigError(f"a bundle is of one cell, and these were selected: {names}", "--bundle", "name one")
    if not jobs[0].cell.target.has_gpu:
        raise ConfigError(f"a bundle is of what a GPU has shown, and {names} is for none", "--bundle", "name a GPU's")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError("no file can be written there", str(path), "give a file's name, in a folder that is there")
    if not is_name(by):
        raise ConfigError("no name that could be shown", "--by", f"at most {LONGEST_NAME} characters of one line")


def write_bundle(bench: Bench, job: Job, path: Path, by: str = "") -> Bundle:
    """Write what is known of a job's candidate on this machine. The same evidence at the same time gives the same file.

    Raises Undecided where no scenario was run, and where the bytes of the image's description are nowhere.
    """
    bundle = make_bundle(bench, job, by, _find_private(bench))
    data = render_bundle(bundle, open_signer(bench.project.site))
    if len(data) > LARGEST:
        cause = f"the evidence is {len(data)} bytes, and a bundle has at most {LARGEST}"
        raise Undecided(cause, job.cell.id, "see in its smoke.json what takes the room: logs are cut before this")
    write_atomic(path, data)
    return bundle


def make_bundle(bench: Bench, job: Job, by: str, private: Private) -> Bundle:
    """The bundle of what is known of a job's candidate. Its verdict is reduced from what is in it, and redacted."""
    workspace, step = bench.workspace, job.step
    candidate = read_candidate(workspace, step.build_id)
    known = recall_scenarios(workspace, job, candidate.digest) if candidate else {}
    if candidate is None or not known:
        raise Undecided("no scenario was run, so there is nothing that the GPU has shown", job.cell.id, _RUN)
    audit_id = identify_audit(candidate.digest, job.cell.target, job.rules)
    report = read_report(job.build_folder(workspace) / AUDIT_FILE, audit_id)
    if report is None:
        raise Undecided("what was run has not been audited by today's rules", job.cell.id, _RUN)
    redactor = make_redactor(private, job.cell, job.scenarios)
    runs = []
    for name, evidence in known.items():
        log = log_file(job.cell_folder(workspace), name)
        text = log.read_text("utf-8", errors="replace") if log.is_file() else ""
        runs.append(Run(redactor.evidence(evidence), redactor.log(text)))
    audit = redactor.audit(report)
    judged = judge_evidence(
        job, candidate.digest, summarise(audit), {run.evidence.scenario: run.evidence for run in runs}
    )
    manifest, config = _read_image(bench, job, candidate)
    return Bundle(
        by=by,
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        tool=__version__,
        cell=job.cell.id,
        digest=candidate.digest,
        build={
            "id": step.build_id,
            "name": step.name,
            "size": candidate.size,
            "parameters": dict(describe_job(job).parameters),
        },
        manifest=manifest,
        config=config,
        audit=audit,
        required=tuple(each.name for each in job.scenarios if each.required),
        runs=tuple(runs),
        verdict=judged.verdict,
        reasons=judged.reasons,
    )


def _read_image(bench: Bench, job: Job, candidate: Candidate) -> tuple[str, str]:
    """An image's manifest and configuration, which are the same on every machine."""
    layout = obtain_layout(bench, job.step, candidate, may_build=False)
    paths = [layout.blob_path(digest) for digest in (layout.digest, layout.config.digest)]
    manifest, config = (path.read_bytes().decode() for path in paths)
    return manifest, config


def _find_private(bench: Bench) -> Private:
    """What no bundle says. Raises Undecided where nobody can tell what that is."""
    try:
        private = find_private()
    except (OSError, RuntimeError, KeyError) as error:
        step = "give this user a home folder"
        raise Undecided("what is private here is not known, so nothing is written", "--bundle", step) from error
    folders = (bench.project.matrix.root, bench.project.site.cache)
    for engine in (bench.engine, bench.gate):
        with engine.explaining():
            name = str(engine.client.info().get("Name") or "")
        private = add_private(private, name, engine.host, bench.project.site, folders)
    return private
