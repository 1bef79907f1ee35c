"""One cell on its way: wheels audited, image built, image audited, smoke-tested on its target, tagged."""

from __future__ import annotations

import time
from collections.abc import Sequence

from scripts.audit.evidence import identify_audit, render_audit, summarise, write_audit
from scripts.audit.files import read_wheels
from scripts.audit.images import read_layout
from scripts.audit.judge import Audit, find_losses, judge
from scripts.build.build import Candidate, find_candidate, find_layout
from scripts.build.steps import Step
from scripts.console import note
from scripts.console import step as announce
from scripts.engine.images import has_image, load_layout
from scripts.errors import BuildFailed, ExitCode, HallmarkError, Problem, Undecided
from scripts.files import write_json
from scripts.matrix import select_rules
from scripts.model import Outcome, Result, Verdict
from scripts.oci.layout import Layout
from scripts.pipeline.chain import Builder
from scripts.pipeline.rows import UNKNOWN, CellReport, Stage
from scripts.pipeline.verdicts import recall_audit, required_checks, required_smoke
from scripts.plan import PlannedCell
from scripts.publish.stamp import name_tags, stamp_engine, stamp_registry, withdraw
from scripts.smoke.gpu import Gpu, find_target
from scripts.smoke.smoke import Evidence, identify, read_evidence, run_smoke
from scripts.verdict import EXIT_CODES, decide


class CellRun:
    """Takes one cell through the stages and fills in its row; whatever fails ends the cell, never the run."""

    def __init__(self, builder: Builder, planned: PlannedCell, step: Step, digest: str = "") -> None:
        self.builder = builder
        self.project, self.engine = builder.project, builder.engine
        self.planned, self.cell, self.step = planned, planned.cell, step
        self.expected = digest
        self.run_folder = self.project.workspace.run(step.build_id)
        self.report = CellReport(self.cell.id)
        self.results: list[Result] = []

    def take(self, last: Stage) -> CellReport:
        """Go as far as `last`, or as the verdicts allow."""
        started = time.monotonic()
        try:
            self._take(last)
        except HallmarkError as error:
            self.report.exit_code = error.exit_code
            self.report.problems = error.problems
            if isinstance(error, BuildFailed):
                self.report.build = "failed"
            self.report.verdict = "undecided" if self.report.verdict == UNKNOWN else self.report.verdict
        self.report.seconds = time.monotonic() - started
        return self.report

    def _take(self, last: Stage) -> None:
        known = find_candidate(self.project.workspace, self.step.build_id)
        recalled = self.cell.target.has_gpu and known and self._recall(known)
        upstream = self._audit_wheels() if self.cell.target.has_gpu and not recalled else None
        if upstream and not upstream.passed:
            self._reject(list(upstream.problems), known)
            return
        candidate = self._build()
        if upstream:
            self._audit_image(candidate, upstream)
        if self.results and not self.results[0].passed:
            self._decide(candidate, ())
            return
        self.report.exit_code = ExitCode.ACCEPTED
        if last >= Stage.SMOKE:
            evidence = self._smoke(candidate)
            if last >= Stage.PUBLISH and self.report.verdict is Verdict.ACCEPTED:
                self._publish(evidence)

    def _recall(self, candidate: Candidate) -> bool:
        result = recall_audit(self.project, self.planned, candidate.build_id, candidate.digest)
        if result:
            self.results = [result]
            self.report.audit = f"unchanged: {_first(result.detail)}"
        return result is not None

    def _audit_wheels(self) -> Audit:
        """Audit the wheels as upstream made them: what they lack is known before any hour is spent on a build."""
        cache = self.builder.fetch(self.step)
        wheels = [(file.sha256, cache.path(file.sha256)) for file in self.step.files if file.kind == "wheel"]
        with announce(self.cell.id, "audit wheels") as update:
            libraries = read_wheels(wheels, cache.root / "audit", update)
            return judge(libraries, self.cell.target.compute, select_rules(self.planned.image.audit, self.cell))

    def _build(self) -> Candidate:
        workspace, step = self.project.workspace, self.step
        candidate = find_candidate(workspace, step.build_id)
        kept = candidate and (find_layout(workspace, step.build_id) or has_image(self.engine, candidate.digest))
        if candidate is None or not kept:
            self.builder.build(step)
            candidate = find_candidate(workspace, step.build_id)
            if candidate is None:
                raise Undecided("the build left no record", str(self.run_folder), "run the same command again")
            self.report.build = f"built in {candidate.seconds:.0f} s"
        else:
            self.report.build = "unchanged"
        self.report.digest, self.report.size = candidate.digest, candidate.size
        if self.expected and candidate.digest != self.expected:
            raise Undecided(
                f"this checkout builds {candidate.digest}, not {self.expected}",
                self.cell.id,
                "check out the commit that it was built from, and use an engine of the same version (HALLMARK_ENGINE)",
            )
        return candidate

    def _audit_image(self, candidate: Candidate, upstream: Audit) -> None:
        """Audit the whole image by its bytes, and hold it against the wheels that went in."""
        rules = select_rules(self.planned.image.audit, self.cell)
        layout = self._layout(candidate.digest, "built")
        with announce(self.cell.id, "audit") as update:
            kept = self.project.site.cache / "audit" / "layers"
            found = judge(read_layout(layout.folder, update, kept), self.cell.target.compute, rules)
        audit = Audit(found.compute, found.libraries, (*found.problems, *find_losses(upstream, found)))
        report = render_audit(audit, self.cell.id, self.cell.target, candidate.digest)
        write_audit(self.run_folder, identify_audit(candidate.digest, self.cell.target, rules), report)
        result = summarise(report)
        self.results = [result]
        self.report.audit = _first(result.detail)

    def _smoke(self, candidate: Candidate) -> Evidence:
        cell, image, smoke = self.cell, self.planned.image, required_smoke(self.planned)
        evidence = read_evidence(self.run_folder, identify(cell, image, smoke, candidate.digest), candidate.digest)
        if evidence and any(result.outcome is Outcome.ERROR for result in evidence.results):
            evidence = None  # what could not be decided is asked again
        gpu = self._find_gpu(candidate) if cell.target.has_gpu and not evidence else None
        self._load(candidate)
        if evidence:
            self.report.smoke = "unchanged: "
        else:
            with announce(cell.id, "smoke") as update:
                work = self.project.workspace.work
                evidence = run_smoke(
                    self.engine, cell, image, smoke, candidate.digest, work, self.run_folder, update, gpu
                )
            self.report.smoke = ""
        passed = sum(result.passed for result in evidence.results)
        self.report.smoke += f"{passed} of {len(evidence.results)} passed"
        self._decide(candidate, evidence.results, evidence.smoke_id)
        return evidence

    def _find_gpu(self, candidate: Candidate) -> Gpu:
        try:
            return find_target(self.cell)
        except Undecided as error:
            self.report.smoke = "no GPU for it"
            target = self.cell.target
            step = f"on a machine with {target.name}, at this commit: "
            step += f"nox -s verify-{target.id} -- {self.cell.id} --digest {candidate.digest}"
            causes = [Problem(f"not decided: {problem.cause}", next_step=step) for problem in error.problems]
            raise Undecided(causes) from error

    def _load(self, candidate: Candidate) -> None:
        if has_image(self.engine, candidate.digest):
            return
        self.builder.build(self.step)
        with announce(self.cell.id, "load"):
            self.engine.prune_build_cache()  # before the image is unpacked once more, its build's copy can go
            load_layout(self.engine, self.project.workspace.layout(self.step.build_id), candidate.digest)

    def _decide(self, candidate: Candidate, smoked: Sequence[Result], smoke_id: str = "") -> None:
        verdict, reasons = decide([*self.results, *smoked], required_checks(self.planned))
        self.report.verdict, self.report.exit_code = verdict, EXIT_CODES[verdict]
        record = "smoke.log" if smoked else "audit.json"
        self.report.problems = [Problem(reason, next_step=f"read {self.run_folder / record}") for reason in reasons]
        self._record(candidate, verdict, reasons, smoke_id)

    def _record(self, candidate: Candidate, verdict: Verdict, reasons: list[str], smoke_id: str = "") -> None:
        write_json(
            self.run_folder / "verdict.json",
            {
                "cell": self.cell.id,
                "digest": candidate.digest,
                "smoke_id": smoke_id,
                "verdict": verdict,
                "reasons": reasons,
            },
        )
        if verdict is not Verdict.ACCEPTED and (gone := withdraw(self.engine, candidate.digest)):
            note(f"{self.cell.id}: no longer accepted, so these tags were withdrawn: {', '.join(gone)}")

    def _reject(self, problems: list[Problem], known: Candidate | None) -> None:
        self.report.audit = f"wheels rejected: {len(problems)} problems"
        self.report.verdict, self.report.exit_code = Verdict.REJECTED, ExitCode.REJECTED
        self.report.problems = problems
        if known:  # built of these wheels when they were still good enough
            self._record(known, Verdict.REJECTED, [f"{problem.place}: {problem.cause}" for problem in problems])

    def _publish(self, evidence: Evidence) -> None:
        tags = name_tags(self.planned, self.step.build_id)
        self.report.tag = stamp_engine(self.engine, evidence.digest, tags)
        if not self.project.site.registry:
            return
        with announce(self.cell.id, "publish"):
            layout = self._layout(evidence.digest, "tested")
            locks = self.project.workspace.folder / "locks"
            evidence = evidence.with_results(self.results)
            self.report.tag = stamp_registry(self.project.site.registry, layout, tags, evidence, self.cell.id, locks)

    def _layout(self, digest: str, what: str) -> Layout:
        """The image's layout; another one than was meant raises Undecided."""
        layout = self.builder.build(self.step)
        if layout.digest != digest:  # `clean` took the layout, and an engine of another kind built it anew
            raise Undecided(
                f"the image was rebuilt as {layout.digest}, but {digest} is what was {what}",
                self.cell.id,
                "run the same command again: it tests the new one",
            )
        return layout


def _first(detail: str) -> str:
    return detail.partition(";")[0]
