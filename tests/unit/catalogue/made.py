"""A small project with one cell for the CPU and one for a GPU, and evidence of it made by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.audit.evidence import identify_audit, summarise, write_audit
from scripts.bundle.form import Bundle, Run, render_bundle
from scripts.catalogue.gather import gather
from scripts.catalogue.types import Catalogue, CellPage
from scripts.compare.form import render_data
from scripts.compare.types import Comparison
from scripts.engine.images import BUILD_ID_LABEL
from scripts.feed import Entry, append_entry
from scripts.files import canonical_json
from scripts.matrix import load_matrix
from scripts.model import Verdict
from scripts.oci.descriptor import LAYER_TAR, OCI_CONFIG, describe, digest_of
from scripts.pipeline import Job, Options, Stage, make_jobs
from scripts.pipeline.candidate import Candidate, write_candidate
from scripts.pipeline.described import describe_job
from scripts.pipeline.judge import judge_evidence
from scripts.plan import make_plan
from scripts.project import Project
from scripts.site import Site
from scripts.smoke.parse import parse_evidence
from scripts.smoke.smoke import identify
from tests.unit.builders import edit, write_locks, write_project
from tests.unit.compare.made import ENDED, make_column, make_comparison
from tests.unit.pipeline.lab import FOR_GPU

CPU, GPU, PRO = "serve-cpu", "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NASTY = """<script>alert("1")</script> 'single' "double" & <img src=x onerror=alert(2)>"""
HOST = {"cpu": "8 × fast", "engine": "28.5.2", "gpu": "NVIDIA GeForce RTX 5090", "driver": "580.95.05"}
PRO_6000 = 'pro6000 = { name = "RTX PRO 6000", compute = "12.0", driver = "570", memory = 96, recipe = "source" }'
MANUAL = """\
# serve

```bash
docker run --rm hallmark/serve:cpu --port <port>
```

```bash
docker run --rm --gpus all hallmark/serve:1.1.0-cu128-5090-wheel
```

```bash
docker -H unix:///somewhere save hallmark/serve:1.2.0-cpu | docker load
```
"""


@dataclass
class Checkout:
    """A checkout with its evidence; `catalogue` is what is made of it."""

    root: Path

    def __post_init__(self) -> None:
        write_project(self.root)
        edit(self.root / "matrix.toml", "cpu = {", f"{PRO_6000}\ncpu = {{")
        edit(self.root / "images/serve/image.toml", "\n[[scenario]]", f"{FOR_GPU}\n[[scenario]]")
        (self.root / "images/serve/README.md").write_text(MANUAL)
        (self.root / "docs/evidence").mkdir(parents=True)
        write_locks(self.root, load_matrix(self.root))

    @property
    def project(self) -> Project:
        site = replace(Site.from_environment(), cache=self.root / "cache")
        return replace(Project.open(self.root), site=site)

    def job(self, cell: str) -> Job:
        project = self.project
        plan = [planned for planned in make_plan(project.matrix) if planned.cell.id == cell]
        [job] = make_jobs(project.matrix, plan, project.build_options(), Stage.PUBLISH, Options())
        return job

    def evidence(self, cell: str, digest: str = DIGEST, *, todays: bool = True, **fields: Any) -> dict[str, Any]:
        """Evidence of the cell's one scenario in which every check passed."""
        job = self.job(cell)
        checks = ["load", "serve", "container", *(["gpu"] if job.cell.target.has_gpu else [])]
        asked = identify(job.cell, job.planned.image, job.scenarios[0], digest) if todays else "0" * 64
        results = [{"check": each, "outcome": "passed", "detail": "", "measured": {}} for each in checks]
        made = {"version": 2, "scenario": "default", "smoke_id": asked, "digest": digest, "results": results}
        host = HOST if job.cell.target.has_gpu else {"cpu": "8 × fast"}
        return made | {"seconds": 3.0, "finished": "2026-11-29T05:00:00Z", "host": dict(host)} | fields

    def keep(self, cell: str, evidence: dict[str, Any], name: str = "") -> None:
        """Put evidence where the repository has it."""
        path = self.root / "docs/evidence" / cell / f"{name or evidence.get('scenario', 'default')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(evidence))

    def build(self, cell: str, digest: str = DIGEST, evidence: dict[str, Any] | None = None) -> None:
        """Leave what a run in this checkout leaves: the candidate, its audit, and the evidence where there is some."""
        job, workspace = self.job(cell), self.project.workspace
        write_candidate(workspace, Candidate(job.step.name, job.step.build_id, digest, 12_000_000, 3.0))
        if job.cell.target.has_gpu:
            libraries = [{"coverage": "native"}]
            report = {"digest": digest, "passed": True, "libraries": libraries, "problems": [], "driver": "575.51.03"}
            audit_id = identify_audit(digest, job.cell.target, job.rules)
            write_audit(job.build_folder(workspace) / "audit.json", audit_id, report)
        if evidence:
            path = job.cell_folder(workspace) / "smoke" / "default.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(evidence))

    def keep_layers(self, cell: str, *layers: tuple[bytes, str]) -> str:
        """Leave what a run in this checkout leaves of a candidate with these layers: their bytes, and in words."""
        listed = [describe(data, LAYER_TAR).to_json() for data, _ in layers]
        words = [{"created_by": f"hallmark: {said}"} for _, said in layers]
        config = canonical_json({"history": words})
        manifest = canonical_json({"config": describe(config, OCI_CONFIG).to_json(), "layers": listed})
        digest, run = digest_of(manifest), self.project.workspace.run(self.job(cell).step.build_id)
        self.build(cell, digest, self.evidence(cell, digest))
        (run / "manifest.json").write_bytes(manifest)
        (run / "config.json").write_bytes(config)
        return digest

    def say(self, cell: str, verdict: Verdict, digest: str = DIGEST, **fields: Any) -> Entry:
        """Append a line to the feed, of another build unless `build` says which."""
        entry = Entry(cell, "f" * 64, digest, verdict, (), "", "", "2026-11-28T00:00:00Z", 3, 3, "0.1.0")
        entry = replace(entry, **fields)
        append_entry(self.project.workspace.feed, entry, self.root / "feed.lock")
        return entry

    def hear(self, by: str, *, passed: bool = True, todays: bool = True, memory: str = "32607") -> str:
        """Put an owner's run where the repository has it: of an image that says which build it is of, by its digest."""
        job = self.job(GPU)
        config = canonical_json({"config": {"Labels": {BUILD_ID_LABEL: job.step.build_id}}})
        manifest = canonical_json({"config": describe(config, OCI_CONFIG).to_json(), "layers": []})
        digest = digest_of(manifest)
        evidence = self.evidence(GPU, digest, todays=todays)
        evidence["host"] |= {"index": "0", "compute": "12.0", "memory_mib": memory}
        seen = parse_evidence(evidence if passed else fail(evidence, "serve"))
        audit: dict[str, Any] = {"digest": digest, "passed": True, "driver": None, "problems": []}
        audit |= {"audit_id": identify_audit(digest, job.cell.target, job.rules), "libraries": [{"coverage": "native"}]}
        judged = judge_evidence(job, digest, summarise(audit), {"default": seen})
        bundle = Bundle(
            by=by,
            made="2026-11-29T06:00:00Z",
            tool="0.1.0",
            cell=GPU,
            digest=digest,
            build={
                "id": job.step.build_id,
                "name": job.step.name,
                "size": len(config),
                "parameters": dict(describe_job(job).parameters),
            },
            manifest=manifest.decode(),
            config=config.decode(),
            audit=audit,
            required=("default",),
            runs=(Run(seen, ""),),
            verdict=judged.verdict,
            reasons=judged.reasons,
        )
        path = self.root / "docs/evidence/owners" / GPU / f"{by}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(render_bundle(bundle, None))
        return digest

    def compare(self, digest: str, title: str = "An engine", target: str = "5090") -> Comparison:
        """Put a comparison where the repository has it, of this digest of the cell for the GPU."""
        column = replace(make_column(GPU, title, ENDED), digest=digest)
        comparison = replace(make_comparison(column), target=target, machine=title)
        path = self.root / f"docs/evidence/compare/{target}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(render_data(comparison)))
        return comparison

    def catalogue(self, registry: str = "") -> Catalogue:
        return gather(self.project, [self.root / "docs/evidence"], [], registry)

    def page(self, cell: str) -> CellPage:
        [page] = [page for page in self.catalogue().pages if page.cell.id == cell]
        return page


def fail(evidence: dict[str, Any], check: str, detail: str = "wrong") -> dict[str, Any]:
    """The same with a check that failed."""
    failed = {"check": check, "outcome": "failed", "detail": detail, "measured": {}}
    return evidence | {"results": [failed if each["check"] == check else each for each in evidence["results"]]}


def measure(evidence: dict[str, Any], check: str, measured: dict[str, Any]) -> dict[str, Any]:
    """The same with what a check measured."""
    results = [each | {"measured": measured} if each["check"] == check else each for each in evidence["results"]]
    return evidence | {"results": results}
