"""Git trees as a lock names them: by the commit that is written, or that upstream's build pins, or that a tag means."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from scripts.errors import ConfigError, Undecided
from scripts.fetch import Remotes
from scripts.lock.lockfile import COMMIT
from scripts.matrix import Source
from scripts.model import LockedTree


@dataclass(frozen=True)
class TreeLock:
    """A tree, and what of it could not be checked here, in words; empty where nothing was left."""

    tree: LockedTree
    unchecked: str = ""


def lock_tree(source: Source, pinned: Collection[str] | None, remotes: Remotes, place: str) -> TreeLock:
    """Lock a git source. `pinned` are the commits and tags of it that upstream's build has; None: nobody could look.

    Raises ConfigError where what is written is not what upstream pins, or where a tag was moved, and Undecided where
    only the repository knows the commit, and does not answer.
    """
    commit, tag = source.commit, source.tag
    if pinned is not None:
        found = " or ".join(sorted(pinned)) or "nothing"
        if (commit or tag) and not {commit, tag} & set(pinned):
            cause = f"{source.name}: {tag or commit} is written, and {source.pin} pins {found}"
            raise ConfigError(cause, place, "write what upstream pins")
        if not (commit or tag):
            if len(pinned) != 1:
                cause = f"{source.name}: {source.pin} pins {found} of {source.repository}"
                raise ConfigError(cause, place, "correct `pin`, or write the `commit`")
            revision = min(pinned)
            commit, tag = (revision, "") if COMMIT.fullmatch(revision) else ("", revision)
    unchecked = ""
    if tag:
        commit, unchecked = _check_tag(source, commit, tag, remotes, place)
    if not commit:
        raise Undecided(
            f"{source.name}: the file {source.pin}, which pins it, is not to be had", place, "write `commit`"
        )
    return TreeLock(LockedTree(source.name, source.repository, commit, tag, source.submodules), unchecked)


def _check_tag(source: Source, commit: str, tag: str, remotes: Remotes, place: str) -> tuple[str, str]:
    """The commit that a tag means, and what could not be checked. A tag says nothing about bytes: it can be moved."""
    try:
        there = remotes.find_tag(source.repository, tag)
    except Undecided as error:
        if not commit:
            cause = f"{source.name}: only {source.repository} knows which commit its tag {tag} is: {error}"
            raise Undecided(cause, place, "write the `commit` beside the tag") from error
        return commit, f"that the tag {tag} of {source.repository} is {commit[:12]} ({error})"
    if not there:
        raise ConfigError(f"{source.name}: {source.repository} has no tag {tag}", place, "write what upstream pins")
    if commit and there != commit:
        cause = f"{source.name}: the tag {tag} of {source.repository} is {there}, and {commit} is written"
        raise ConfigError(cause, place, "find out why upstream moved it, before writing the other commit")
    return there, ""
