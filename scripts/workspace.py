"""The checkout's `.hallmark` folder: where each thing lies, and one writer at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.locks import hold


@dataclass(frozen=True)
class Workspace:
    """Paths under one checkout's `.hallmark`."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / ".hallmark"

    @property
    def engine(self) -> Path:
        return self.folder / "engine"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def layouts(self) -> Path:
        return self.folder / "layouts"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def contexts(self, name: str) -> Path:
        """Where `fetch --contexts` lays a step's inputs out for other builders, and where the bake file looks."""
        return self.folder / "contexts" / name

    def run(self, build_id: str) -> Path:
        """The evidence of one build: build.log, build.json, smoke.json, verdict.json."""
        return self.runs / build_id

    def layout(self, build_id: str) -> Path:
        return self.layouts / build_id

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the workspace for this process; another one waits. What an interrupted one left half-way goes first."""
        with hold(self.folder / "lock", "another run in this checkout"):
            shutil.rmtree(self.work, ignore_errors=True)
            yield
