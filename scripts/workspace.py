"""The checkout's `.hallmark` folder: where each thing lies, and one holder at a time for each."""

from __future__ import annotations

import math
import secrets
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
    def locks(self) -> Path:
        return self.folder / "locks"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def comparisons(self) -> Path:
        return self.folder / "compare"

    @property
    def feed(self) -> Path:
        return self.folder / "feed.jsonl"

    def contexts(self, name: str) -> Path:
        """Where `fetch --contexts` lays a step's inputs out for other builders, and where the bake file looks."""
        return self.folder / "contexts" / name

    def run(self, build_id: str) -> Path:
        """The evidence of one build: build.log, build.json, wheels.json, audit.json, and a folder for each cell."""
        return self.runs / build_id

    def layout(self, build_id: str) -> Path:
        return self.layouts / build_id

    @contextmanager
    def claim(self, name: str, patience_s: float = math.inf) -> Iterator[Path]:
        """Hold one thing of the checkout (a build id, a cell's test) and have a new, empty folder to work on it.

        Whoever else wants it waits, and says so; what an interrupted holder left half-way goes first. Nobody had the
        folder's name before: what outlives a holder that was killed, as its builder does, writes into another. Raises
        Undecided where the wait is longer than `patience_s` seconds.
        """
        with hold(self.locks / f"{name}.lock", f"another run's work on {name}", patience_s=patience_s):
            for left in list_folders(self.work):
                if name_work(left) == name:
                    shutil.rmtree(left, ignore_errors=True)
            folder = self.work / f"{name}.{secrets.token_hex(4)}"
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def name_work(folder: Path) -> str:
    """What a folder of work is the work on: the name by which it was claimed."""
    return folder.name.rsplit(".", 1)[0]


def list_folders(parent: Path) -> list[Path]:
    """The folders in one, in order; none where it is not there."""
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []
