"""Where this site has things: `HALLMARK_*` variables, and what apt and pip are already set up with.

Locks name bytes, not hosts. An air-gapped or mirrored site changes its own configuration and no tracked file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args
from urllib.parse import urlsplit

from scripts.errors import ConfigError, Problem
from scripts.model import Compression
from scripts.reference import Repository
from scripts.text import name_some

ENGINES = ("auto", "host", "embedded")
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
KEYLESS = "keyless"
_NAMES = (
    "BUILDER",
    "COMPRESSION",
    "ENGINE",
    "GPU_HOST",
    "MIRRORS",
    "REGISTRY",
    "SIGNING",
    "SIGNING_KEY",
    "SIGNING_PASSWORD",
    "SIGNING_TRUST",
    "WHEELS",
)
_OURS = re.compile(r"HALLMARK_")
_PLACE = "environment"
_BUILDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# What the docker CLI takes for --context, and for --host where that is a socket.
_CONTEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*|unix:///[!-~]+")


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
    keyless: bool = False
    signing_trust: Path | None = None
    gpu_host: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Site:
        """Read the variables. Raises one ConfigError with every value that cannot be meant, and every unknown name."""
        values = {name: environment.get(f"HALLMARK_{name}", "") for name in _NAMES}
        builders = tuple(values["BUILDER"].split(",")) if values["BUILDER"] else cls.builders
        wheels = tuple(Path(item) for item in values["WHEELS"].split(os.pathsep) if item)
        cache = _find_cache(environment)
        site = cls(
            engine=values["ENGINE"] or "auto",
            registry=values["REGISTRY"].rstrip("/"),
            mirrors=tuple(item.rstrip("/") for item in values["MIRRORS"].split()),
            wheels=wheels,
            cache=(cache or Path()) / "hallmark",
            compression=cast(Compression, values["COMPRESSION"] or cls.compression),
            builders=builders,
            signing_key=Path(values["SIGNING_KEY"]) if values["SIGNING_KEY"] else None,
            signing_password=values["SIGNING_PASSWORD"],
            keyless=values["SIGNING"] == KEYLESS,
            signing_trust=Path(values["SIGNING_TRUST"]) if values["SIGNING_TRUST"] else None,
            gpu_host=values["GPU_HOST"],
        )
        unknown = sorted(set(filter(_OURS.match, environment)) - {f"HALLMARK_{name}" for name in _NAMES})
        known = f"known: {', '.join(f'HALLMARK_{name}' for name in _NAMES)}"
        problems = [Problem(f"unknown variable {', '.join(unknown)}", _PLACE, known)] if unknown else []
        problems += site._find_problems(values)
        if cache is None:
            problems.append(Problem("there is no folder for the cache", _PLACE, "set HOME, or XDG_CACHE_HOME"))
        if problems:
            raise ConfigError(problems)
        return site

    def _find_problems(self, values: Mapping[str, str]) -> Iterator[Problem]:
        yield from self._find_engine_problems()
        if self.compression not in COMPRESSIONS:
            yield Problem(f"HALLMARK_COMPRESSION={self.compression}", _PLACE, name_some(COMPRESSIONS))
        if not all(map(_BUILDER.fullmatch, self.builders)) or len(set(self.builders)) != len(self.builders):
            found = f"HALLMARK_BUILDER={values['BUILDER']} is no builder's name, nor a list of them: a,b"
            yield Problem(found, _PLACE, "`docker buildx ls` lists the names")
        if values["REGISTRY"] and not _is_registry(self.registry):
            found = f"HALLMARK_REGISTRY={values['REGISTRY']} is no registry, nor a folder in one"
            yield Problem(found, _PLACE, "write it as registry.example.com/team or 127.0.0.1:5000")
        for mirror in self.mirrors:
            if not _is_address(mirror, "http", "https"):
                found = f"HALLMARK_MIRRORS: {mirror} is no address"
                yield Problem(found, _PLACE, "write it as https://mirror.example.com/files")
        for folder in self.wheels:
            if not os.path.isdir(folder):  # noqa: PTH112  # a Path's own raises for a name that is too long
                yield Problem(f"HALLMARK_WHEELS: {folder} is not a folder", _PLACE, "create or correct it")
        yield from self._find_signing_problems(values["SIGNING"])

    def _find_signing_problems(self, signing: str) -> Iterator[Problem]:
        for name, path in (("KEY", self.signing_key), ("TRUST", self.signing_trust)):
            if path and not os.path.isfile(path):  # noqa: PTH113
                yield Problem(f"HALLMARK_SIGNING_{name}: {path} is not a file", _PLACE, "create or correct it")
        if signing not in ("", KEYLESS):
            step = f"write {KEYLESS}, or leave it out: then HALLMARK_SIGNING_KEY signs"
            yield Problem(f"HALLMARK_SIGNING={signing}", _PLACE, step)
        if self.keyless and self.signing_key:
            yield Problem(f"HALLMARK_SIGNING={KEYLESS}, and HALLMARK_SIGNING_KEY has a key", _PLACE, "leave one out")
        if self.signing_trust and not self.keyless:
            cause = "HALLMARK_SIGNING_TRUST is of signatures without a key"
            yield Problem(cause, _PLACE, f"set HALLMARK_SIGNING={KEYLESS}, or leave it out")

    def _find_engine_problems(self) -> Iterator[Problem]:
        if self.engine not in ENGINES:
            yield Problem(f"HALLMARK_ENGINE={self.engine}", _PLACE, name_some(ENGINES))
        known = _CONTEXT.fullmatch(self.gpu_host) or _is_address(self.gpu_host, "ssh", "tcp")
        if self.gpu_host and not known:
            found = f"HALLMARK_GPU_HOST={self.gpu_host} is no engine's address, nor a docker context's name"
            yield Problem(
                found, _PLACE, "write it as ssh://me@gpubox or tcp://gpubox:2376; `docker context ls` has names"
            )


def _find_cache(environment: Mapping[str, str]) -> Path | None:
    """The user's folder for caches; None where there is neither a variable nor a home."""
    if given := environment.get("XDG_CACHE_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # nobody of this number is known here, as in many containers
        return None


def _is_registry(text: str) -> bool:
    """Whether an image's name can be added to it."""
    try:
        Repository.parse(f"{text}/image")
    except ConfigError:
        return False
    return True


def _is_address(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        known = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    # What begins with a hyphen would be an option of ssh.
    plain = text.isascii() and text.isprintable() and " " not in text and "//-" not in text and "@-" not in text
    return known and plain and parts.scheme in schemes


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
