"""Finding sdists: the source of a distribution as the index has it beside its wheels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.errors import ConfigError
from scripts.index.solve import FoundFile, read_file, solve
from scripts.matrix import Platform
from scripts.site import PipSettings


def find_sdists(
    pins: Sequence[str], platform: Platform, pip: PipSettings, folders: Sequence[Path] = ()
) -> list[FoundFile]:
    """The sdist of each pin (`name==version`), by name. Raises ConfigError where the index has none of it."""
    packages = solve(pins, (), platform, pip, folders, ["--no-deps"])
    for package in packages:
        if "sdist" not in package:
            raise ConfigError(
                "the index has no sdist of it", f"{package['name']} {package['version']}", "name another source"
            )
    return [read_file(package, package["sdist"]) for package in packages]
