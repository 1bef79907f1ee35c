"""The addresses at which this site may have a locked file, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.errors import HallmarkError
from scripts.index import find_sdists, resolve_wheels
from scripts.matrix import Platform
from scripts.matrix.names import is_file_name, is_path
from scripts.model import LockedFile
from scripts.site import PipSettings, Site, read_apt_mirrors, read_pip_settings

INDEXED = ("wheel", "sdist")  # the kinds that a package index has


@dataclass(frozen=True)
class Sources:
    """The site's addresses as fetch sees them. `index_urls` maps file names to those that the site's index gave."""

    apt_roots: tuple[str, ...] = ()
    index_urls: Mapping[str, str] = field(default_factory=dict)
    index_fault: str = ""
    mirrors: tuple[str, ...] = ()

    def urls(self, file: LockedFile) -> list[str]:
        """Addresses to try in turn: the site's own index, the upstream address, then the mirrors."""
        path = file.path if is_path(file.path) else ""  # a lock is read by others too, who need not have checked it
        found = [f"{root}/{path}" for root in self.apt_roots if path]
        if file.file in self.index_urls:
            found.append(self.index_urls[file.file])
        if file.url:
            found.append(file.url)
        return found + [f"{mirror}/{path or file.file}" for mirror in self.mirrors if path or is_file_name(file.file)]


def find_settings(missing: Sequence[LockedFile]) -> PipSettings:
    """What pip is told of indexes and folders, where packages of its kind are missing."""
    return read_pip_settings() if any(file.kind in INDEXED for file in missing) else PipSettings()


def find_sources(site: Site, platform: Platform, missing: Sequence[LockedFile], pip: PipSettings) -> Sources:
    """Ask apt's configuration, and the index for the addresses of the wheels that are missing."""
    asked = [file for file in missing if file.kind in INDEXED and not file.url]
    urls, fault = _ask_index(pip, platform, site.wheels, asked)
    packages = any(file.kind == "deb" for file in missing)
    return Sources(
        apt_roots=tuple(dict.fromkeys(read_apt_mirrors().values())) if packages else (),
        index_urls=urls,
        index_fault=fault,
        mirrors=site.mirrors,
    )


def _ask_index(
    pip: PipSettings, platform: Platform, folders: Sequence[Path], files: Sequence[LockedFile]
) -> tuple[dict[str, str], str]:
    """The addresses of wheels and sdists as the site's index gives them, and what the index said if it failed."""
    urls: dict[str, str] = {}
    fault = ""
    waiting = {(file.kind, file.name, file.version) for file in files}
    while waiting:
        # One solution holds one version of a name, so several images' pins of it are asked for in turn.
        kind = min(waiting)[0]
        batch = {name: version for each, name, version in sorted(waiting) if each == kind}
        waiting -= {(kind, *item) for item in batch.items()}
        try:
            # `===`: `==2.13.0` would also be met by a folder's 2.13.0+cpu, and preferably so.
            pins = [f"{name}==={version}" for name, version in batch.items()]
            if kind == "sdist":
                found = find_sdists(pins, platform, pip, folders)
            else:
                found = resolve_wheels(pins, (), platform, pip, folders, with_dependencies=False)
        except HallmarkError as error:  # no index at all is one kind of site: mirrors and folders may have the files
            fault = str(error)
            continue
        urls.update({file.file: file.url for file in found if file.url.startswith("http")})
    return urls, fault
