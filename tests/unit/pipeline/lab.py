"""A project to be run, with a builder, containers, libraries and GPUs that are as a test says; the rest is real."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from scripts.audit.library import Library
from scripts.build.build import Candidate, find_candidate
from scripts.build.steps import Step, make_steps
from scripts.fetch import Cache
from scripts.files import write_json
from scripts.matrix import load_matrix
from scripts.model import Outcome, Result
from scripts.oci.layout import Layout
from scripts.pipeline import CellReport, CellVerdict, Options, Stage, chain, read_verdicts, run, run_cells
from scripts.pipeline import cell as cell_module
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.site import Site
from scripts.smoke import gpu as gpu_module
from scripts.smoke import smoke as smoke_module
from scripts.smoke.container import ContainerRun
from scripts.smoke.gpu import Gpu
from scripts.workspace import Workspace
from tests.unit.audit.made import library
from tests.unit.builders import write_locked_project, write_locks
from tests.unit.fake_docker import FakeDocker
from tests.unit.registry.fake_registry import make_layout

PASSED = [Result(check, Outcome.PASSED) for check in ("load", "serve", "container")]
FAILED = [*PASSED[:2], Result("container", Outcome.FAILED, "exit code 139")]
UNDECIDED = [Result("container", Outcome.ERROR, "the engine stopped answering")]
RTX_5090 = Gpu("0", "GPU-1", "NVIDIA GeForce RTX 5090", "12.0", "580.95.05")
# What makes the two images buildable for a GPU, too.
FOR_GPU = """
[recipe.wheel."12.8"]
version = "1.2.0"
revision = "v1.2.0"
requirements = ["serve==1.2.0"]
[[audit]]
accept = "native"
libraries = ["lib/*.so"]
"""


class Lab:
    """A project whose builds and containers come out as `builds` and `results` say, by cell; it notes what ran.

    `wheels` and `image` are the libraries that audits find in any cell's wheels and image, `gpus` what the machine has.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        write_locked_project(root)
        self.docker = FakeDocker()
        self.engine = self.docker.engine()
        self.site = Site("auto", "", (), (), root / "cache")
        self.builds: dict[str, Exception] = {}
        self.results: dict[str, Sequence[Result]] = {}
        self.ran: list[str] = []
        self.on_smoke: Callable[[str], None] = lambda cell: None
        self.on_build: Callable[[str], None] = lambda name: None
        self.wheels = [library("lib/x.so", "120+90", "120")]
        self.image = [library("opt/lib/x.so", "120", "120")]
        self.gpus = [RTX_5090]
        self.devices: dict[str, list[list[str]]] = {}
        self._lock = Lock()
        monkeypatch.setattr(run, "open_engine", lambda project: self.engine)
        monkeypatch.setattr(chain, "fetch_files", lambda files, site, platform: Cache(site.cache))
        monkeypatch.setattr(chain, "slim_step", self._slim)
        monkeypatch.setattr(chain, "build_step", self._build)
        monkeypatch.setattr(cell_module, "read_wheels", self._read_wheels)
        monkeypatch.setattr(cell_module, "read_layout", self._read_layout)
        monkeypatch.setattr(gpu_module, "find_gpus", lambda: self.gpus)
        monkeypatch.setattr(smoke_module, "lay_out", lambda image, folder: folder.mkdir(parents=True))
        monkeypatch.setattr(smoke_module, "run_container", self._smoke)
        monkeypatch.setattr(self.docker, "info", lambda: {"Runtimes": {"nvidia": {}}})

    def write_for_gpu(self) -> None:
        """Give both images a recipe for CUDA 12.8, and rules."""
        for name in ("serve", "train"):
            with (self.root / f"images/{name}/image.toml").open("a") as stream:
                stream.write(FOR_GPU)
        write_locks(self.root, load_matrix(self.root))

    @property
    def project(self) -> Project:
        return Project(load_matrix(self.root), self.site, Workspace(self.root))

    def _note(self, line: str) -> None:
        with self._lock:
            self.ran.append(line)

    def _slim(self, step: Step, cache: Cache) -> Step:
        if step.slim:
            self._note(f"slim {step.name}")
        return replace(step, files=())

    def _build(self, step: Step, engine: Any, cache: Cache, workspace: Workspace) -> Layout:
        self._note(f"build {step.name}")
        self.on_build(step.name)
        if step.name in self.builds:
            raise self.builds[step.name]
        folder = workspace.layout(step.build_id)
        shutil.rmtree(folder, ignore_errors=True)
        layout = make_layout(folder, f"{step.name} {step.build_id}")
        (folder / "oci-layout").write_text("{}")
        candidate = Candidate(step.name, step.build_id, layout.digest, layout.size, 1.0)
        write_json(workspace.run(step.build_id) / "build.json", asdict(candidate))
        return layout

    def _read_wheels(self, wheels: Any, kept: Path, update: Callable[[str], None]) -> list[Library]:
        assert wheels, "a cell has wheels"
        self._note("audit wheels")
        return self.wheels

    def _read_layout(self, folder: Path, update: Callable[[str], None], kept: Path) -> list[Library]:
        assert kept == self.site.cache / "audit" / "layers"
        candidate = find_candidate(Workspace(self.root), folder.name)
        assert candidate, "a layout that was recorded"
        self._note(f"audit {candidate.name}")
        return self.image

    def _smoke(
        self, engine: Any, digest: str, folder: Path, smoke: Any, environment: Any, devices: Sequence[Any] = ()
    ) -> ContainerRun:
        cell = folder.name.removeprefix("smoke-")
        self._note(f"smoke {cell}")
        assert digest in self.docker.tags, "the image is there before its container"
        self.devices[cell] = [device.device_ids for device in devices]
        self.on_smoke(cell)
        return ContainerRun(tuple(self.results.get(cell, PASSED)), "", 1.0)

    def run(
        self,
        *patterns: str,
        last: Stage = Stage.PUBLISH,
        options: Options = Options(),  # noqa: B008
    ) -> dict[str, CellReport]:
        self.ran.clear()
        project = self.project
        reports = run_cells(project, make_plan(project.matrix, Selection(patterns or ["*-cpu"])), last, options)
        return {report.cell: report for report in reports}

    def step(self, cell: str) -> Step:
        plan = make_plan(self.project.matrix, Selection([cell]))
        return make_steps(self.project.matrix, plan)[-1]

    def folder(self, cell: str) -> Path:
        """Where the evidence of a cell's current build is."""
        return self.project.workspace.run(self.step(cell).build_id)

    def verdict(self, cell: str) -> CellVerdict:
        [row] = read_verdicts(self.project, make_plan(self.project.matrix, Selection([cell])))
        return row

    @property
    def tags(self) -> set[str]:
        return {tag for tags in self.docker.tags.values() for tag in tags}
