"""Asking the site's index by way of uv: it solves requirements, and says which files there are of each distribution."""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from uv import find_uv_bin

from scripts.errors import ConfigError
from scripts.matrix import Platform
from scripts.site import PipSettings, uv_environment


@dataclass(frozen=True)
class FoundFile:
    """A wheel or an sdist where this site has it: its name, SHA-256, address, upload time (seconds, UTC; 0: not said).

    `name` is the distribution's, `file` the file's.
    """

    name: str
    version: str
    file: str
    sha256: str
    url: str
    uploaded: int


def solve(
    requirements: Sequence[str],
    overrides: Sequence[str],
    platform: Platform,
    pip: PipSettings,
    folders: Sequence[Path],
    options: Sequence[str],
    constraints: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The `packages` of a pylock.toml that meet the requirements, by name. Raises ConfigError where there are none.

    `overrides` are requirements, each of which counts instead of all that anyone has of its distribution; `constraints`
    count besides them, for distributions that something else asks for.
    """
    with tempfile.TemporaryDirectory(prefix="hallmark-lock-") as name:
        folder = Path(name)
        (folder / "requirements.in").write_text("\n".join(requirements) + "\n")
        (folder / "overrides.txt").write_text("".join(f"{item}\n" for item in overrides))
        (folder / "constraints.txt").write_text("".join(f"{item}\n" for item in constraints))
        command = [find_uv_bin(), "pip", "compile", "--quiet", "--format", "pylock.toml", *options]
        command += ["--python-version", platform.python, "--override", "overrides.txt", "--no-python-downloads"]
        command += ["--constraint", "constraints.txt"]
        command += ["--python-platform", f"x86_64-manylinux_{platform.glibc.replace('.', '_')}"]
        command += ["--output-file", "pylock.toml"]
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
        packages: list[dict[str, Any]] = tomllib.loads((folder / "pylock.toml").read_text())["packages"]
        return packages


def read_file(package: Mapping[str, Any], file: Mapping[str, Any]) -> FoundFile:
    """One of the files of a package of a pylock.toml."""
    url = file.get("url") or file["path"]
    uploaded = file.get("upload-time")
    return FoundFile(
        name=package["name"],
        version=package["version"],
        file=file.get("name") or unquote(Path(urlsplit(url).path).name),
        sha256=file["hashes"]["sha256"],
        url=url,
        uploaded=int(uploaded.timestamp()) if isinstance(uploaded, datetime) else 0,
    )
