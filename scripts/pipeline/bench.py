"""Where candidates are made and tested: an engine, a builder, the cache, and the ways out to GPUs and registries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from scripts.assemble.assemble import Workshop
from scripts.assemble.bytecode import SandboxCompiler
from scripts.buildkit.builder import Builder, EngineBuilder
from scripts.console import step as announce
from scripts.engine import Engine
from scripts.fetch import Cache, fetch_files
from scripts.model import Cell, LockedFile
from scripts.project import Project, open_engine
from scripts.registry.client import Registry
from scripts.smoke.gpu import Gpu, find_target
from scripts.workspace import Workspace


@dataclass(frozen=True)
class Bench:
    """What the stages of every cell work with. `find_gpu` and `open_registry` lead out of the machine's own control."""

    project: Project
    engine: Engine
    workshop: Workshop
    find_gpu: Callable[[Cell], Gpu] = find_target
    open_registry: Callable[[], Registry] = Registry
    _fetching: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def workspace(self) -> Workspace:
        return self.project.workspace

    @property
    def builder(self) -> Builder:
        return self.workshop.builder

    @property
    def cache(self) -> Cache:
        return Cache(self.project.site.cache)

    def fetch(self, name: str, files: Sequence[LockedFile]) -> None:
        """Bring these inputs into the cache; cells side by side wait for one another, as they share most of them."""
        with self._fetching:
            if any(not self.cache.holds(file) for file in files):
                with announce(name, "fetch"):
                    fetch_files(files, self.project.site, self.project.matrix.platform)


def open_bench(project: Project) -> Bench:
    """The engine that this site uses, started if need be, and a workshop on it."""
    engine = open_engine(project)
    builder = EngineBuilder(engine, project.site.builder)
    workshop = Workshop(builder, Cache(project.site.cache), partial(SandboxCompiler, engine))
    return Bench(project, engine, workshop)
