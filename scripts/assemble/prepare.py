"""A step's wheels as they go into its image: cut down to the target's code, where it asks for that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.assemble.types import Step
from scripts.console import Update, note
from scripts.fetch import Cache
from scripts.files import format_size
from scripts.slim.wheel.cached import slim_files


@dataclass(frozen=True)
class Wheel:
    """A wheel on the disk: its distribution, its own file name, and the SHA-256 of the bytes at `path`."""

    name: str
    version: str
    file: str
    sha256: str
    path: Path


def prepare_wheels(step: Step, cache: Cache, update: Update) -> list[Wheel]:
    """The step's wheels by name. What was slimmed once is taken from the cache. Raises Undecided for a damaged one."""
    files = list(step.wheels)
    if step.slim:
        slimmed = slim_files(files, step.slim, cache, update)
        before, after = sum(file.source.size for file in slimmed), sum(file.used.size for file in slimmed)
        note(f"{step.name}: {format_size(before)} of wheels became {format_size(after)}")
        files = [file.used for file in slimmed]
    return [Wheel(file.name, file.version, file.file, file.sha256, cache.path(file.sha256)) for file in files]
