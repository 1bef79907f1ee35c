"""Who runs a build: the engine's own BuildKit, or any other builder that buildx knows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from scripts.engine import Engine
from scripts.engine.client import FAILURES
from scripts.errors import Undecided
from scripts.files import in_home

DEFAULT = "default"  # buildx's name for the BuildKit inside the engine
_RUNNING = re.compile(r"^Status:\s+running\b", re.MULTILINE)


class BuilderLost(Undecided):
    """The builder was lost during a build, and the same build can run in another one."""


class Builder(Protocol):
    """Runs builds."""

    @property
    def where(self) -> str:
        """What messages call it."""

    @property
    def disk(self) -> Path:
        """Where what it builds takes its room, as far as that is on this machine."""

    def prune(self, *, everything: bool = False) -> None:
        """Empty its cache, if it is ours alone; what compilers keep there goes only with `everything`."""

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
        """Run `docker buildx` with these arguments; hands on each line that it prints, and returns its exit code.

        Raises BuilderLost where the same is worth another try.
        """

    def stop(self) -> None:
        """End what it is running, in whatever thread that is waited for."""

    def answers(self) -> bool:
        """Whether it is still there."""


@dataclass(frozen=True)
class EngineBuilder:
    """The builder of this name, reached by an engine's command line."""

    engine: Engine
    name: str = DEFAULT

    @property
    def where(self) -> str:
        """The engine's address, or the builder's name."""
        return self.engine.host if self.name == DEFAULT else f"builder {self.name}"

    @property
    def disk(self) -> Path:
        """The engine's data: builders that are its containers keep theirs there, and images go there in any case."""
        return self.engine.data_root

    def prune(self, *, everything: bool = False) -> None:
        """Empty the embedded engine's cache. A host's is its owner's, and so is another builder's."""
        if self.name == DEFAULT:
            self.engine.prune_build_cache(everything=everything)

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
        """As `Builder.run`. Raises Undecided where there is no `docker` to run."""
        return self._engine.spawn(["buildx", "--builder", self.name, *arguments], on_line)

    def stop(self) -> None:
        """End every `docker` that was started for a build."""
        self.engine.end_children()

    def answers(self) -> bool:
        """Ask the engine, or buildx about a builder of another name."""
        try:
            if self.name == DEFAULT:
                self.engine.client.ping()
                return True
            return bool(_RUNNING.search(self._engine.query(["buildx", "inspect", self.name])))
        except (*FAILURES, Undecided):
            return False

    @property
    def _engine(self) -> Engine:
        """The engine, with a command line that knows the user's builders: an embedded one has settings of its own."""
        if self.name == DEFAULT:
            return self.engine
        settings = os.environ.get("DOCKER_CONFIG") or in_home("~/.docker")
        builders = {"BUILDX_CONFIG": os.environ.get("BUILDX_CONFIG") or f"{settings}/buildx"}
        return replace(self.engine, environment={**self.engine.environment, **builders})
