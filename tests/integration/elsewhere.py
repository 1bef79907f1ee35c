"""A second checkout of a project, to which candidates travel."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.integration.conftest import run_verb


@dataclass(frozen=True)
class Elsewhere:
    """A second checkout of a project: its own workspace, and no builder that could build anything."""

    root: Path

    def publish(self, cell: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """The exit code, and all that was said. A builder that is not there is what any build would fail with."""
        run = run_verb(self.root, "publish", cell, *arguments, HALLMARK_BUILDER="not-there", **environment)
        return run.returncode, run.stdout + run.stderr

    def left(self) -> list[Path]:
        """What lies in the places of candidates, of work and of builds' logs."""
        folder = self.root / ".hallmark"
        return [
            *folder.glob("layouts/*"),
            *folder.glob("work/*"),
            *folder.rglob("build.log"),
            *folder.rglob("build.json"),
        ]


def copy_checkout(source: Path, destination: Path) -> Path:
    destination.mkdir()
    for name in ("matrix.toml", "matrix.lock"):
        shutil.copyfile(source / name, destination / name)
    shutil.copytree(source / "images", destination / "images")
    return destination
