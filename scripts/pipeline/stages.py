"""The stages of one cell: each takes a frozen job and what is known, and gives evidence that it has written down."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from scripts.audit.evidence import identify_audit, identify_wheels, render_audit, summarise, write_audit
from scripts.audit.files import read_wheels
from scripts.audit.images import read_layout
from scripts.audit.judge import Audit, find_losses, judge
from scripts.console import Update, note
from scripts.console import step as announce
from scripts.errors import Problem, Undecided
from scripts.matrix import Scenario
from scripts.model import Outcome, Result, Verdict
from scripts.pipeline.abreast import run_abreast
from scripts.pipeline.bench import Bench
from scripts.pipeline.candidate import Candidate
from scripts.pipeline.dossier import make_dossier, take_back
from scripts.pipeline.job import Job
from scripts.pipeline.judge import (
    AUDIT_FILE,
    WHEELS_FILE,
    CellVerdict,
    judge_cell,
    recall_audit,
    recall_scenarios,
    recall_wheels,
    write_verdict,
)
from scripts.pipeline.obtain import load, obtain_layout, obtain_suite
from scripts.pipeline.record import record_verdict
from scripts.pipeline.service import require_service
from scripts.publish.promote import push_candidate
from scripts.publish.stamp import (
    name_repository,
    name_tags,
    stamp_engine,
    stamp_registry,
    withdraw,
)
from scripts.smoke.gpu import Gpu, request_all
from scripts.smoke.smoke import Evidence, open_cache, run_scenario


def audit_wheels(bench: Bench, job: Job) -> Result:
    """Audit the wheels as upstream made them: what they lack is known before anything is built of them."""
    if known := recall_wheels(bench.workspace, job):
        return known
    with announce(job.step.name, "audit wheels") as update:
        audit = _judge_wheels(bench, job, update)
    report = render_audit(audit, f"wheels of {job.step.name}", job.cell.target)
    audit_id = identify_wheels(job.step.wheels, job.cell.target, job.rules)
    write_audit(job.build_folder(bench.workspace) / WHEELS_FILE, audit_id, report)
    return summarise(report)


def audit_image(bench: Bench, job: Job, candidate: Candidate) -> Result:
    """Audit the whole image by its bytes, and hold it against the wheels that went in, where it was built here.

    Cells of one candidate share its audit: who comes second finds it done.
    """
    with bench.workspace.claim(f"audit-{job.step.build_id}"):
        if known := recall_audit(bench.workspace, job, candidate.digest):
            return known
        received = bool(job.options.digest)
        layout = obtain_layout(bench, job.step, candidate, may_build=not received)
        with announce(job.step.name, "audit") as update:
            upstream = None if received else _judge_wheels(bench, job, update)
            found = judge(
                read_layout(layout.folder, update, bench.cache.root / "audit" / "layers"),
                job.cell.target.compute,
                job.rules,
            )
        if upstream:
            found = replace(found, problems=(*found.problems, *find_losses(upstream, found)))
        report = render_audit(found, job.step.name, job.cell.target, candidate.digest)
        audit_id = identify_audit(candidate.digest, job.cell.target, job.rules)
        write_audit(job.build_folder(bench.workspace) / AUDIT_FILE, audit_id, report)
        return summarise(report)


def push(bench: Bench, job: Job, candidate: Candidate) -> None:
    """Push an audited candidate by digest, with no tag, so that it can be tested wherever its GPU is."""
    repository = name_repository(bench.project.site.registry, job.planned.image.name)
    registry = bench.open_registry()
    if registry.get_manifest(repository, candidate.digest) is None:
        layout = obtain_layout(bench, job.step, candidate, may_build=not job.options.digest)
        with announce(job.step.name, "push"):
            push_candidate(registry, repository, layout)


def smoke(bench: Bench, job: Job, candidate: Candidate) -> tuple[tuple[Evidence, ...], bool]:
    """Take a candidate through the cell's scenarios; their evidence, and whether earlier runs had all of it already.

    Each is written down as it ends, so that a run that was interrupted goes on with those that are left. What could not
    be decided is asked again, and what another driver showed. Raises Undecided where the target is not there.
    """
    known = {
        name: evidence
        for name, evidence in recall_scenarios(bench.workspace, job, candidate.digest).items()
        if not any(result.outcome is Outcome.ERROR for result in evidence.results)
    }
    drivers = {evidence.host.get("driver") for evidence in known.values()}
    complete = len(known) == len(job.scenarios) and len(drivers) <= 1
    with ExitStack() as stack:
        gpus: tuple[Gpu, ...] = ()
        if bench.remote and job.cell.target.has_gpu and not complete:
            request_all(bench.remote)  # before gigabytes travel to where there is no GPU
            load(bench, job.step, candidate, may_build=not job.options.digest)  # its GPUs are asked for in the image
        if job.cell.target.has_gpu and not complete:
            # No more than there is to do: others wait for them. With another driver more is to do, one after the other.
            most = len(job.scenarios) - len(known) or len(job.scenarios)
            gpus = _hold_gpus(bench, job, candidate, most, stack)
            known = {name: each for name, each in known.items() if each.host.get("driver") == gpus[0].driver}
        load(bench, job.step, candidate, may_build=not job.options.digest)
        if not complete:
            work = stack.enter_context(bench.workspace.claim(f"smoke-{job.cell.id}"))
            stack.enter_context(bench.gate.sharing(open_cache(work)))
            left = [scenario for scenario in job.scenarios if scenario.name not in known]
            known |= _run_scenarios(bench, job, left, candidate, work, gpus)
    return tuple(known[scenario.name] for scenario in job.scenarios), complete


def rule(bench: Bench, job: Job) -> CellVerdict:
    """Reduce the evidence to a verdict, record it, and take the cell's tags off a digest that is not accepted.

    The feed comes last: whatever keeps it from being written, no tag stays where it should not.
    """
    verdict = judge_cell(bench.workspace, job)
    write_verdict(bench.workspace, job, verdict)
    try:
        if verdict.digest and verdict.verdict is not Verdict.ACCEPTED:
            _withdraw(bench, job, verdict)
    finally:
        record_verdict(bench.workspace, job, verdict)
    return verdict


def _withdraw(bench: Bench, job: Job, verdict: CellVerdict) -> None:
    """Take a cell's tags off the digest of a verdict: in the engine, and once it was rejected in the registry as well.

    What could not be decided this time takes no tag away from everybody: what the registry says of it was seen.
    """
    tags = name_tags(job.planned, job.step.build_id)
    if gone := withdraw(bench.gate, verdict.digest, tags):
        note(f"{job.cell.id}: no longer accepted, so these tags were withdrawn: {', '.join(gone)}")
    if not bench.project.site.registry or verdict.verdict is not Verdict.REJECTED:
        return
    repository = name_repository(bench.project.site.registry, job.planned.image.name)
    evidence = tuple(recall_scenarios(bench.workspace, job, verdict.digest).values())
    audits = (recall_wheels(bench.workspace, job), recall_audit(bench.workspace, job, verdict.digest))
    found = [audit for audit in audits if audit] if job.cell.target.has_gpu else []
    dossier = make_dossier(bench.project, job, found, evidence)
    take_back(bench.project, bench.open_registry(), repository, verdict, dossier)


def publish(
    bench: Bench, job: Job, candidate: Candidate, results: Sequence[Result], evidence: Sequence[Evidence]
) -> str:
    """Tag an accepted candidate, in the engine and in the site's registry; returns the reference with the version.

    Raises ConfigError, before any tag is set, for a cell that was retired.
    """
    require_service(bench.project, job.planned, bench.open_registry() if bench.project.site.registry else None)
    reference = stamp_engine(bench.gate, candidate.digest, name_tags(job.planned, job.step.build_id))
    if not bench.project.site.registry:
        return reference
    with announce(job.cell.id, "publish"):
        layout = obtain_layout(bench, job.step, candidate, may_build=not job.options.digest)
        repository = name_repository(bench.project.site.registry, job.planned.image.name)
        dossier = make_dossier(bench.project, job, results, evidence)
        return stamp_registry(bench.open_registry(), repository, layout, dossier, bench.workspace.locks)


def _run_scenarios(
    bench: Bench, job: Job, scenarios: Sequence[Scenario], candidate: Candidate, work: Path, gpus: Sequence[Gpu]
) -> dict[str, Evidence]:
    """Their evidence by name; side by side, one on each GPU, where there are several."""
    image, folder = job.planned.image, job.cell_folder(bench.workspace)
    suite = obtain_suite(bench, job) if any(scenario.tests for scenario in scenarios) else None
    free: SimpleQueue[Gpu | None] = SimpleQueue()
    for gpu in gpus or (None,):
        free.put(gpu)

    def run(scenario: Scenario) -> Evidence:
        gpu = free.get()
        try:
            with announce(job.cell.id, f"smoke {scenario.name}") as update:
                return run_scenario(
                    bench.gate, job.cell, image, scenario, candidate.digest, work, folder, update, gpu, suite
                )
        finally:
            free.put(gpu)

    # What decides comes first: an interruption then costs what decides nothing. Side by side the longest begins first:
    # the other GPUs would wait for it at the end.
    def rank(scenario: Scenario) -> tuple[bool, int]:
        return not scenario.required, -scenario.timeout_s if len(gpus) > 1 else 0

    ended = run_abreast(run, sorted(scenarios, key=rank), len(gpus), bench.stop)
    return {evidence.scenario: evidence for evidence in ended}


def _judge_wheels(bench: Bench, job: Job, update: Update) -> Audit:
    """Hold the wheels, as upstream made them, against the policy; what was read of each once is kept."""
    bench.fetch(job.step.name, job.step.files)
    wheels = [(file.sha256, bench.cache.path(file.sha256)) for file in job.step.wheels]
    libraries = read_wheels(wheels, bench.cache.root / "audit", update)
    return judge(libraries, job.cell.target.compute, job.rules)


def _hold_gpus(bench: Bench, job: Job, candidate: Candidate, most: int, stack: ExitStack) -> tuple[Gpu, ...]:
    try:
        return stack.enter_context(bench.hold_gpus(job.cell, candidate.digest, most))
    except Undecided as error:
        target = job.cell.target
        step = f"on a machine with {target.name}, at this commit, with the candidate in a registry or carried there: "
        step += f"nox -s verify-{target.id} -- {job.cell.id} --digest {candidate.digest} [--from WHERE]"
        place = target.name
        if bench.remote:
            step = (
                f"let HALLMARK_GPU_HOST name a machine with {place}, then run the same command: nothing is built again"
            )
            place = f"{place} at {bench.place}"
        # What is wrong with another machine itself has a next step of its own.
        steps = [each.next_step if bench.remote and each.place == bench.place else step for each in error.problems]
        found = zip(error.problems, steps, strict=True)
        causes = [Problem(f"not decided: {problem.cause}", place, step) for problem, step in found]
        raise Undecided(causes) from error
