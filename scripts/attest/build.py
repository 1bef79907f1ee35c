"""What an image was built from, as provenance and SBOM both tell it, and the package URLs that name its parts.

Package URLs: https://github.com/package-url/purl-spec
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from packaging.utils import canonicalize_name

from scripts.model import LockedFile, LockedTree


@dataclass(frozen=True)
class Made:
    """A distribution that was compiled here; `build_id` hashes all that went into it."""

    name: str
    version: str
    build_id: str


@dataclass(frozen=True)
class Build:
    """A build as its locks tell it. `parameters` are what was asked for, `epoch` is the time of its newest lock.

    `packages` lie in the image, as does what was `made`; the `sources` and tools of that were only compiled from and
    with.
    """

    build_id: str
    name: str
    version: str
    epoch: int
    parameters: Mapping[str, Any]
    packages: tuple[LockedFile, ...]
    made: tuple[Made, ...] = ()
    sources: tuple[LockedFile | LockedTree, ...] = ()


Licences = Callable[[LockedFile], tuple[str, ...]]


def package_url(file: LockedFile) -> str:
    """The package URL of a Python distribution or a Debian package; empty for anything else."""
    if file.kind in ("wheel", "sdist"):
        return python_url(file.name, file.version)
    if file.kind != "deb":
        return ""
    architecture = file.file.removesuffix(".deb").rpartition("_")[2]
    return f"pkg:deb/debian/{_quote(file.name)}@{_quote(file.version)}?arch={_quote(architecture)}"


def python_url(name: str, version: str) -> str:
    """The package URL of a Python distribution."""
    return f"pkg:pypi/{_quote(canonicalize_name(name))}@{_quote(version)}"


def _quote(text: str) -> str:
    return quote(text, safe=":")
