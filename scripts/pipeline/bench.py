"""Where candidates are made and tested: an engine, a builder, the cache, and the ways out to GPUs and registries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock, Semaphore

from scripts.assemble.assemble import Workshop
from scripts.assemble.bytecode import SandboxCompiler
from scripts.assemble.components import step_folder
from scripts.assemble.types import CompileStep
from scripts.buildkit.builder import Builder
from scripts.buildkit.pool import open_builder
from scripts.compile.compile import MadeWheel, compile_wheel
from scripts.compile.sources import fetch_sources
from scripts.console import Update
from scripts.console import step as announce
from scripts.engine import Engine
from scripts.engines import find_remote, open_engine
from scripts.fetch import Cache, fetch_files
from scripts.model import Cell, LockedFile
from scripts.oci.layout import Layout
from scripts.project import Project
from scripts.registry.client import Registry
from scripts.smoke.away import find_gpus_there
from scripts.smoke.gpu import HERE, Gpu, find_gpus, hold_targets
from scripts.workspace import Workspace


@dataclass(frozen=True)
class Bench:
    """What the stages of every cell work with. `look` (for GPUs) and `open_registry` lead out of the process.

    `engine` is the one that images are built in, `remote` that of another machine that they are tested in, if any.
    """

    project: Project
    engine: Engine
    workshop: Workshop
    look: Callable[[], list[Gpu]] = find_gpus
    open_registry: Callable[[], Registry] = Registry
    remote: Engine | None = None
    _fetching: Lock = field(default_factory=Lock, repr=False, compare=False)
    _compiling: Semaphore = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiling", Semaphore(len(self.project.site.builders)))

    @property
    def workspace(self) -> Workspace:
        return self.project.workspace

    @property
    def gate(self) -> Engine:
        """The engine that candidates are loaded, tested and tagged in."""
        return self.remote or self.engine

    @property
    def place(self) -> str:
        """What the gate's machine is called in a sentence."""
        return self.remote.host if self.remote else HERE

    @property
    def builder(self) -> Builder:
        return self.workshop.builder

    @property
    def cache(self) -> Cache:
        return Cache(self.project.site.cache)

    def find_gpus(self, digest: str) -> list[Gpu]:
        """The gate's GPUs; on another machine the image of this digest, which is there, is asked. Raises Undecided."""
        return find_gpus_there(self.remote, digest) if self.remote else self.look()

    def hold_gpus(self, cell: Cell, digest: str, most: int | None = None) -> AbstractContextManager[tuple[Gpu, ...]]:
        """The gate's GPUs that a cell is for, for this run alone. Raises Undecided where there is none."""
        return hold_targets(cell, partial(self.find_gpus, digest), self.project.site.cache / "locks", most, self.place)

    def stop(self) -> None:
        """End what other threads have the builders and the engine do, so that they can end themselves."""
        self.builder.stop()
        for engine in (self.engine, self.gate):
            engine.end_containers()

    def fetch(self, name: str, files: Sequence[LockedFile]) -> None:
        """Bring these inputs into the cache; cells side by side wait for one another, as they share most of them."""
        with self._fetching:
            if any(not self.cache.holds(file) for file in files):
                with announce(name, "fetch"):
                    fetch_files(files, self.project.site, self.project.matrix.platform)

    def fetch_sources(self, steps: Sequence[CompileStep]) -> None:
        """Bring the sources of these compile steps into the cache. Raises Undecided that names all that are missing."""
        with self._fetching:
            fetch_sources(steps, self.project.site, self.project.matrix.platform)

    def compile(
        self, step: CompileStep, environment: Layout, work: Path, log: Path, update: Update, *, cached: bool = True
    ) -> MadeWheel:
        """Compile a step's wheel in the image of its environment, as `compile_wheel` does.

        One on each builder: a step plans with all the cores and memory that there are.
        """
        program = step_folder(self.project.matrix)
        if not self._compiling.acquire(blocking=False):
            update("waits for another to be compiled")
            self._compiling.acquire()
        try:
            return compile_wheel(step, environment, self.builder, self.cache, program, work, log, update, cached=cached)
        finally:
            self._compiling.release()


def open_bench(project: Project) -> Bench:
    """The engine that this site uses, started if need be, a workshop on it, and the engine of HALLMARK_GPU_HOST."""
    engine = open_engine(project)
    builder = open_builder(engine, project.site.builders)
    workshop = Workshop(builder, Cache(project.site.cache), partial(SandboxCompiler, engine))
    return Bench(project, engine, workshop, remote=find_remote(project, engine.environment.get("PATH")))
