"""Resolving wheels: uv solves, and one file of each distribution is chosen by its tags."""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from packaging.version import Version
from uv import find_uv_bin

from scripts.errors import ConfigError
from scripts.matrix import Platform
from scripts.site import PipSettings, uv_environment


@dataclass(frozen=True)
class FoundWheel:
    """A wheel where this site has it: file name, SHA-256, address, and upload time (seconds, UTC; 0: not said)."""

    name: str
    version: str
    file: str
    sha256: str
    url: str
    uploaded: int


def resolve_wheels(
    requirements: Sequence[str],
    absent: Sequence[str],
    platform: Platform,
    pip: PipSettings,
    folders: Sequence[Path] = (),
    *,
    with_dependencies: bool = True,
) -> list[FoundWheel]:
    """Solve requirements for the platform and choose a wheel of each distribution, by name.

    Raises ConfigError where there is no solution, or a distribution has no wheel that the platform can install.
    """
    with tempfile.TemporaryDirectory(prefix="hallmark-lock-") as name:
        folder = Path(name)
        (folder / "requirements.in").write_text("\n".join(requirements) + "\n")
        # A marker that is never true takes a distribution out of the solution, whoever asks for it.
        (folder / "absent.txt").write_text("".join(f'{item} ; python_version < "0"\n' for item in absent))
        command = [find_uv_bin(), "pip", "compile", "--quiet", "--format", "pylock.toml", "--only-binary", ":all:"]
        command += ["--python-version", platform.python, "--override", "absent.txt", "--no-python-downloads"]
        command += ["--python-platform", f"x86_64-manylinux_{platform.glibc.replace('.', '_')}"]
        command += ["--output-file", "pylock.toml"] + ([] if with_dependencies else ["--no-deps"])
        for item in (*folders, *pip.folders):
            command += ["--find-links", str(item)]
        run = subprocess.run(
            [*command, "requirements.in"],
            cwd=folder,
            env=uv_environment(pip),
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        if run.returncode != 0:
            raise ConfigError(run.stderr.strip(), "uv pip compile", "correct the requirements, or the index's settings")
        packages = tomllib.loads((folder / "pylock.toml").read_text())["packages"]
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


def _choose(package: dict[str, Any], ranks: dict[Tag, int]) -> FoundWheel:
    best: tuple[int, FoundWheel] | None = None
    for wheel in package.get("wheels", ()):
        url = wheel.get("url") or wheel["path"]
        file = wheel.get("name") or unquote(Path(urlsplit(url).path).name)
        _, _, _, tags = parse_wheel_filename(file)
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
        if rank is None or (best and best[0] <= rank):
            continue
        uploaded = wheel.get("upload-time")
        seconds = int(uploaded.timestamp()) if isinstance(uploaded, datetime) else 0
        best = rank, FoundWheel(package["name"], package["version"], file, wheel["hashes"]["sha256"], url, seconds)
    if best is None:
        raise ConfigError(
            "has no wheel for this platform", f"{package['name']} {package['version']}", "pin another version"
        )
    return best[1]
