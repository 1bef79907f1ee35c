"""The guard: a small program before a GPU image's entry point, which knows what the image is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.assemble.tree import EXECUTABLE, Entry, make_file
from scripts.files import canonical_json
from scripts.model import CudaLine, Target

NAME = "hallmark-guard"
PROGRAM = Path(__file__).parent / "inside" / "guard.py"


def guard_settings(cuda: CudaLine, target: Target) -> dict[str, str]:
    """What the guard compares with the driver and GPUs that it finds. As of a candidate, they name no target."""
    return {"compute": target.compute, "cuda": cuda.id, "driver": cuda.driver}


def make_guard(settings: Mapping[str, str]) -> list[Entry]:
    """The guard's files in an image. Its program runs on Debian's own interpreter, whatever lies in the environment."""
    return [
        make_file(f"usr/local/bin/{NAME}", PROGRAM.read_bytes(), EXECUTABLE),
        make_file("usr/local/lib/hallmark/image.json", canonical_json(dict(settings))),
    ]
