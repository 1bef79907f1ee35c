"""Resolving wheels: uv solves, and one file of each distribution is chosen by its tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from scripts.errors import ConfigError
from scripts.index.solve import FoundFile, read_file, solve
from scripts.matrix import Platform
from scripts.site import PipSettings


def resolve_wheels(
    requirements: Sequence[str],
    absent: Sequence[str],
    platform: Platform,
    pip: PipSettings,
    folders: Sequence[Path] = (),
    *,
    override: Sequence[str] = (),
    constraints: Sequence[str] = (),
    with_dependencies: bool = True,
) -> list[FoundFile]:
    """Solve requirements for the platform and choose a wheel of each distribution, by name.

    `absent` are distributions that are left out, whoever asks for them; of others, the requirements in `override` count
    instead of what anyone asks, and those in `constraints` besides. Raises ConfigError where there is no solution, or a
    distribution has no wheel that the platform can install.
    """
    options = ["--only-binary", ":all:", *([] if with_dependencies else ["--no-deps"])]
    # A marker that is never true takes a distribution out of the solution.
    overrides = [*override, *(f'{item} ; python_version < "0"' for item in absent)]
    packages = solve(requirements, overrides, platform, pip, folders, options, constraints)
    ranks = {tag: rank for rank, tag in enumerate(platform_tags(platform))}
    return [_choose(package, ranks) for package in packages]


def platform_tags(platform: Platform) -> list[Tag]:
    """The wheel tags that the platform installs, best first (x86-64 Linux with glibc)."""
    python = Version(platform.python)
    newest = Version(platform.glibc).minor
    legacy = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
    platforms: list[str] = []
    for glibc in range(newest, 4, -1):
        platforms.append(f"manylinux_2_{glibc}_x86_64")
        platforms += [legacy[glibc]] if glibc in legacy else []
    platforms.append("linux_x86_64")
    interpreter = f"cp{python.major}{python.minor}"
    return [
        *cpython_tags(python.release, [interpreter], platforms),
        *compatible_tags(python.release, interpreter, platforms),
    ]


def _choose(package: dict[str, Any], ranks: dict[Tag, int]) -> FoundFile:
    best: tuple[int, FoundFile] | None = None
    for wheel in package.get("wheels", ()):
        found = read_file(package, wheel)
        _, _, _, tags = parse_wheel_filename(found.file)
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
        if rank is not None and (best is None or rank < best[0]):
            best = rank, found
    if best is None:
        raise ConfigError(
            "has no wheel for this platform", f"{package['name']} {package['version']}", "pin another version"
        )
    return best[1]
