"""Slimmed wheels in the cache: each made once for a wheel, a target and a version of the slimmer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_wheel_filename

from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.fetch.cache import lay_out_named
from scripts.files import parse_json, write_json
from scripts.model import LockedFile
from scripts.slim.elf.library import LibraryReport
from scripts.slim.wheel.wheel import VERSION, WheelReport, slim_wheel


@dataclass(frozen=True)
class SlimmedFile:
    """A locked wheel and what is installed in its place: `used` is the same file where nothing was removed.

    `reason` says why; `libraries` is what became of each library with GPU code.
    """

    source: LockedFile
    used: LockedFile
    reason: str = ""
    libraries: Mapping[str, LibraryReport] = field(default_factory=dict)


def slim_files(
    files: Sequence[LockedFile], compute: str, cache: Cache, update: Callable[[str], None]
) -> list[SlimmedFile]:
    """Every file as it will be installed; the bytes of slimmed ones are in the cache then, under their own hash.

    Raises Undecided where a wheel is damaged or the machine (disk, memory, permissions) does not let us decide.
    """
    done = []
    for number, file in enumerate(files, 1):
        # A wheel for any platform has no library of this one.
        if file.kind != "wheel" or file.file.endswith("-any.whl"):
            done.append(SlimmedFile(file, file))
            continue
        update(f"{number} of {len(files)}: {file.file}")
        note = cache.root / "slim" / f"{file.sha256}-{compute}-{VERSION}.json"
        known = _recall(note, file, cache)
        if known is None:
            try:
                known = _slim(file, compute, cache)
                write_json(note, {"used": asdict(known.used), "reason": known.reason, "libraries": _dump(known)})
            except OSError as error:
                cause = f"{file.file} cannot be slimmed: {error.strerror or error}"
                place = str(error.filename or cache.root)
                raise Undecided(
                    cause, place, "make the cache readable and writable, or let it lie elsewhere"
                ) from error
        done.append(known)
    return done


def _slim(file: LockedFile, compute: str, cache: Cache) -> SlimmedFile:
    # In the cache's own file system: the new wheel gets its place there by a rename.
    cache.root.mkdir(parents=True, exist_ok=True)
    with (
        lay_out_named(cache, [file]) as folder,
        tempfile.TemporaryDirectory(prefix="slim-", dir=cache.root) as made,
    ):
        report = slim_wheel(folder / file.file, Path(made), compute, file.sha256)
        used = _keep(file, report, cache)
    return SlimmedFile(file, used, report.reason, report.libraries)


def _keep(file: LockedFile, report: WheelReport, cache: Cache) -> LockedFile:
    if report.wheel is None:
        return file
    name, version, _, _ = parse_wheel_filename(report.wheel.name)
    sha256 = cache.take(report.wheel)
    return LockedFile("wheel", canonicalize_name(name), str(version), report.wheel.name, sha256, report.after)


def _recall(note: Path, file: LockedFile, cache: Cache) -> SlimmedFile | None:
    try:
        kept: dict[str, Any] = parse_json(note.read_bytes())
        used = LockedFile(**kept["used"])
        libraries = {name: LibraryReport(**report) for name, report in kept["libraries"].items()}
        return SlimmedFile(file, used, kept["reason"], libraries) if cache.holds(used) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _dump(slimmed: SlimmedFile) -> dict[str, Any]:
    return {name: asdict(report) for name, report in slimmed.libraries.items()}
