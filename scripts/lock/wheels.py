"""Resolving wheels: uv solves, and one file of each distribution is chosen by its tags."""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from uv import find_uv_bin

from scripts.errors import ConfigError, Undecided
from scripts.matrix import Platform, Upstream
from scripts.model import LockedFile
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


def lock_wheels(found: Sequence[FoundWheel], upstream: Sequence[Upstream]) -> list[LockedFile]:
    """Wheels as a lock names them. Raises ConfigError where an upstream wheel's bytes are not those expected."""
    addresses = {item.file: item for item in upstream}
    for wheel in found:
        expected = addresses.get(wheel.file)
        if expected and expected.sha256 != wheel.sha256:
            raise ConfigError(
                f"{wheel.file}: expected SHA-256 {expected.sha256}, found {wheel.sha256}",
                wheel.url,
                "correct image.toml, or remove the other file of that name",
            )
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(_size, found))
    return [
        LockedFile(
            "wheel", w.name, w.version, w.file, w.sha256, size, addresses[w.file].url if w.file in addresses else ""
        )
        for w, size in zip(found, sizes, strict=True)
    ]


def lock_upstream(item: Upstream) -> LockedFile:
    """A wheel of no index as something to fetch."""
    name, version, _, _ = parse_wheel_filename(item.file)
    return LockedFile("wheel", name, str(version), item.file, item.sha256, item.size, item.url)


def platform_tags(platform: Platform) -> list[Tag]:
    """The wheel tags that the platform installs, best first (x86-64 Linux with glibc)."""
    major, minor = map(int, platform.python.split("."))
    newest = int(platform.glibc.split(".")[1])
    legacy = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
    platforms: list[str] = []
    for glibc in range(newest, 4, -1):
        platforms.append(f"manylinux_2_{glibc}_x86_64")
        platforms += [legacy[glibc]] if glibc in legacy else []
    platforms.append("linux_x86_64")
    interpreter = f"cp{major}{minor}"
    return [
        *cpython_tags((major, minor), [interpreter], platforms),
        *compatible_tags((major, minor), interpreter, platforms),
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


def _size(wheel: FoundWheel) -> int:
    """The file's size in bytes: asked of whoever serves it."""
    if not wheel.url.startswith("http"):
        return Path(unquote(urlsplit(wheel.url).path)).stat().st_size
    try:
        answer = requests.head(wheel.url, timeout=60, allow_redirects=True)
        answer.raise_for_status()
        return int(answer.headers["Content-Length"])
    except (requests.RequestException, KeyError, ValueError) as error:
        raise Undecided(
            f"its size could not be asked for: {error}", wheel.file, "run the same command again"
        ) from error
