"""Where this site has things: `HALLMARK_*` variables, and what apt and pip are already set up with.

Locks name bytes, not hosts. An air-gapped or mirrored site changes its own configuration and no tracked file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from scripts.errors import ConfigError
from scripts.model import Compression

ENGINES = ("auto", "host", "embedded")
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
_BUILDER = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Site:
    """The site's overrides; each is empty where the variable is not set. See the README for their meaning."""

    engine: str
    registry: str
    mirrors: tuple[str, ...]
    wheels: tuple[Path, ...]
    cache: Path
    compression: Compression = "zstd"
    builders: tuple[str, ...] = ("default",)
    signing_key: Path | None = None
    signing_password: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Site:
        """Read the variables. Raises ConfigError for a value that cannot be meant, or a name that nothing reads."""
        names = ("BUILDER", "COMPRESSION", "ENGINE", "REGISTRY", "MIRRORS", "SIGNING_KEY", "SIGNING_PASSWORD", "WHEELS")
        known = {f"HALLMARK_{name}" for name in names}
        unknown = sorted(name for name in environment if name.startswith("HALLMARK_") and name not in known)
        if unknown:
            raise ConfigError(
                f"unknown variable {', '.join(unknown)}", "environment", f"known: {', '.join(sorted(known))}"
            )
        engine = environment.get("HALLMARK_ENGINE") or "auto"
        if engine not in ENGINES:
            raise ConfigError(f"HALLMARK_ENGINE={engine}", "environment", f"one of: {', '.join(ENGINES)}")
        compression = environment.get("HALLMARK_COMPRESSION") or cls.compression
        if compression not in COMPRESSIONS:
            found = f"HALLMARK_COMPRESSION={compression}"
            raise ConfigError(found, "environment", f"one of: {', '.join(COMPRESSIONS)}")
        asked = environment.get("HALLMARK_BUILDER", "")
        builders = tuple(asked.split(",")) if asked else cls.builders
        if not all(map(_BUILDER.fullmatch, builders)) or len(set(builders)) != len(builders):
            found = f"HALLMARK_BUILDER={asked} is no builder's name, nor a list of them: a,b"
            raise ConfigError(found, "environment", "`docker buildx ls` lists the names")
        folders = tuple(Path(item) for item in environment.get("HALLMARK_WHEELS", "").split(os.pathsep) if item)
        for folder in folders:
            if not folder.is_dir():
                raise ConfigError(f"HALLMARK_WHEELS: {folder} is not a folder", "environment", "create or correct it")
        key = environment.get("HALLMARK_SIGNING_KEY", "")
        cache = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return cls(
            engine=engine,
            registry=environment.get("HALLMARK_REGISTRY", "").rstrip("/"),
            mirrors=tuple(item.rstrip("/") for item in environment.get("HALLMARK_MIRRORS", "").split() if item),
            wheels=folders,
            cache=Path(cache) / "hallmark",
            compression=compression,
            builders=builders,
            signing_key=Path(key) if key else None,
            signing_password=environment.get("HALLMARK_SIGNING_PASSWORD", ""),
        )


@dataclass(frozen=True)
class PipSettings:
    """What pip is set up with: its indexes (none: pip's own default) and folders of wheels."""

    index: str = ""
    extra_indexes: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


def read_pip_settings() -> PipSettings:
    """Ask pip itself, so that its files, its environment variables and their precedence count as it counts them."""
    run = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False, timeout=600
    )
    found: dict[str, str] = {}
    # As pip ranks them: the environment, then what is set for `pip install`, then what is set for all.
    for section in (":env:", "install", "global"):
        for key, value in re.findall(rf"^{section}\.([\w-]+)='(.*)'$", run.stdout, re.M):
            found.setdefault(key, value.encode().decode("unicode_escape"))
    links = (item.removeprefix("file://") for item in found.get("find-links", "").split())
    return PipSettings(
        index=found.get("index-url", ""),
        extra_indexes=tuple(url for url in found.get("extra-index-url", "").split() if url.startswith("http")),
        folders=tuple(Path(item) for item in links if Path(item).is_dir()),
    )


def uv_environment(settings: PipSettings) -> dict[str, str]:
    """The environment for uv, which reads its own configuration and none of pip's: pip's fills what uv's leaves out."""
    environment = dict(os.environ)
    if settings.index:
        environment.setdefault("UV_DEFAULT_INDEX", settings.index)
    if settings.extra_indexes:
        environment.setdefault("UV_INDEX", " ".join(settings.extra_indexes))
    return environment


def read_apt_mirrors() -> dict[str, str]:
    """Suite → archive root, from apt's sources; empty where there is no apt. Needs no network and no lists."""
    try:
        run = subprocess.run(
            ["apt-get", "update", "--print-uris"], capture_output=True, text=True, check=False, timeout=600
        )
    except FileNotFoundError:
        return {}
    found = re.findall(r"^'(\S+?)/+dists/([^/']+)/InRelease'", run.stdout, re.M)
    return {suite: root for root, suite in reversed(found)}
