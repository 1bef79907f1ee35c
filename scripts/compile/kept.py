"""Compiled wheels in the cache: each made once for everything that goes into it, and shared by every checkout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scripts.assemble.types import Step
from scripts.fetch import Cache
from scripts.files import parse_json, write_json
from scripts.model import LockedFile


@dataclass(frozen=True)
class CompiledWheel:
    """A wheel that a compile step made, and the seconds that this took."""

    file: LockedFile
    seconds: float


def find_compiled(cache: Cache, build_id: str) -> CompiledWheel | None:
    """The wheel of a compile step, if it was made before and its bytes are still in the cache."""
    try:
        kept = parse_json(_note(cache, build_id).read_bytes())
        compiled = CompiledWheel(LockedFile(**kept["file"]), float(kept["seconds"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):  # never made, or a damaged note: it is made again
        return None
    return compiled if cache.holds(compiled.file) else None


def keep_compiled(cache: Cache, build_id: str, wheel: Path, name: str, version: str, seconds: float) -> CompiledWheel:
    """Move a wheel into the cache, and note which build id it is of."""
    size = wheel.stat().st_size
    compiled = CompiledWheel(LockedFile("wheel", name, version, wheel.name, cache.take(wheel), size), seconds)
    write_json(_note(cache, build_id), asdict(compiled))
    return compiled


def recall_compiled(cache: Cache, step: Step) -> Step:
    """An image's step with those of its compiled wheels among its files that were made before. Makes nothing."""
    found = [find_compiled(cache, each.build_id) for each in step.compiled]
    return add_wheels(step, [wheel.file for wheel in found if wheel])


def add_wheels(step: Step, wheels: Sequence[LockedFile]) -> Step:
    """The step with these wheels among its files, each once. Its build id has counted them all along."""
    return replace(step, files=tuple(dict.fromkeys([*step.files, *wheels]))) if wheels else step


def _note(cache: Cache, build_id: str) -> Path:
    return cache.root / "compiled" / f"{build_id}.json"
