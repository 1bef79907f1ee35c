"""A component's sources as a lock names them: files by their SHA-256, git trees by their commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.console import note
from scripts.errors import ConfigError, Undecided
from scripts.fetch import Remotes
from scripts.index import FoundFile, ask_size, find_sdists
from scripts.lock.pins import find_hashes, find_revisions
from scripts.lock.texts import read_texts
from scripts.lock.trees import lock_tree
from scripts.matrix import Component, Platform, Source
from scripts.model import LockedFile, LockedTree
from scripts.site import PipSettings, Site


@dataclass(frozen=True)
class LockedSources:
    """Files and trees, in the component's order; `epoch` is the newest upload time (seconds, UTC; 0: not said)."""

    files: tuple[LockedFile, ...]
    trees: tuple[LockedTree, ...]
    epoch: int


def lock_sources(component: Component, line: str, pip: PipSettings, site: Site, platform: Platform) -> LockedSources:
    """Lock a component's sources for a CUDA line. The main one is fetched where others' pins have to be read in it.

    A source that is named by a hash is locked whether it can be reached from here or not; what could not be checked is
    then said. Raises ConfigError where what is written is not what upstream has, and Undecided where only upstream
    knows the hash, and is not to be had.
    """
    main, *others = component.sources_for(line)
    pins = [source.sdist for source in (main, *others) if source.sdist]
    sdists = find_sdists(pins, platform, pip, site.wheels) if pins else []
    unchecked: list[str] = []
    lock = _Locker({f"{file.name}=={file.version}": file for file in sdists}, Remotes(site), component.place, unchecked)
    locked = [lock.lock(main, {})]
    texts: dict[str, str] = {}
    if wanted := {source.pin for source in others if source.pin}:
        try:
            texts = read_texts(locked[0], wanted, site, platform, component.place)
        except Undecided as error:
            unchecked.append(f"what {main.name} pins ({error})")
    locked += [lock.lock(source, texts) for source in others]
    if unchecked:
        note(f"{component.id} {line}: locked as written, and not checked: {'; '.join(unchecked)}")
    return LockedSources(
        tuple(each for each in locked if isinstance(each, LockedFile)),
        tuple(each for each in locked if isinstance(each, LockedTree)),
        max((file.uploaded for file in sdists), default=0),
    )


@dataclass(frozen=True)
class _Locker:
    """What locking takes beside a source: sdists by their pin, git's places, and a list of what went unchecked."""

    sdists: Mapping[str, FoundFile]
    remotes: Remotes
    place: str
    unchecked: list[str]

    def lock(self, source: Source, texts: Mapping[str, str]) -> LockedFile | LockedTree:
        """Lock a source, where `texts` are the files that could be read of those that pin something."""
        text = texts.get(source.pin)
        if source.sdist:
            file = self.sdists[source.sdist]
            return LockedFile("sdist", file.name, file.version, file.file, file.sha256, ask_size(file))
        if source.url:
            self._check_archive(source, text)
            return LockedFile("archive", source.name, "", name_archive(source), source.sha256, source.size, source.url)
        pinned = None if text is None else find_revisions(text, source.repository)
        made = lock_tree(source, pinned, self.remotes, self.place)
        if made.unchecked:
            self.unchecked.append(made.unchecked)
        return made.tree

    def _check_archive(self, source: Source, text: str | None) -> None:
        if text is not None and source.sha256 not in (pinned := find_hashes(text, source.url)):
            found = " or ".join(sorted(pinned)) or f"nothing at {source.url}"
            cause = f"{source.name}: SHA-256 {source.sha256} is written, and {source.pin} pins {found}"
            raise ConfigError(cause, self.place, "write what upstream pins")


def name_archive(source: Source) -> str:
    """The file name of an archive, under which mirrors and folders have it: by itself, many are `v1.0.tar.gz`."""
    name = source.url.rpartition("/")[2]
    return name if source.name in name else f"{source.name}-{name}"
