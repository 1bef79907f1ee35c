"""A step and all that it stands on: fetched, slimmed and built, each once, whoever asks for it first."""

from __future__ import annotations

from collections import defaultdict
from threading import Lock

from scripts.build.build import build_step, find_layout
from scripts.build.inputs import slim_step
from scripts.build.layout import Layout
from scripts.build.steps import Step
from scripts.buildkit.builder import EngineBuilder
from scripts.console import step as announce
from scripts.engine import Engine
from scripts.fetch import Cache, fetch_files
from scripts.project import Project


class Builder:
    """Builds steps in one engine; cells that run side by side wait for a parent that they share."""

    def __init__(self, project: Project, engine: Engine) -> None:
        self.project = project
        self.engine = engine
        self.buildkit = EngineBuilder(engine, project.site.builder)
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)

    def fetch(self, step: Step) -> Cache:
        """Bring a step's own inputs into the cache."""
        with self._locks["fetch"], announce(step.name, "fetch"):
            return fetch_files(step.inputs, self.project.site, self.project.matrix.platform)

    def build(self, step: Step) -> Layout:
        """Build a step after those that it stands on, unless it is there already."""
        with self._locks[step.build_id]:
            if layout := find_layout(self.project.workspace, step.build_id):
                return layout
            if step.parent:
                self.build(step.parent)
            cache = self.fetch(step)
            return build_step(slim_step(step, cache), self.buildkit, cache, self.project.workspace)
