"""Where a git repository may be had, what is brought from there, and what it calls its commits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from scripts.console import Update
from scripts.errors import Undecided
from scripts.fetch.git import Missing, Repository
from scripts.site import Site

# What git says of a host that cannot be reached, sometimes after minutes.
_UNREACHABLE = re.compile(r"Could not resolve|Failed to connect|unable to connect|Connection (timed out|refused)")
_GONE = "not our ref"  # what a server says of a commit that it has not got, where it gives any


@dataclass(frozen=True)
class Remotes:
    """Where this site has git repositories. A host that cannot be reached is asked once, not for each of them."""

    site: Site
    _unreachable: dict[str, str] = field(default_factory=dict)

    @cached_property
    def repository(self) -> Repository:
        """The one in the site's cache, made where it is missing. Raises Undecided where there is no git."""
        return Repository.open(self.site.cache / "git" / "objects")

    def bring(self, url: str, commit: str, what: str, update: Update) -> None:
        """Have a commit with all files of its tree.

        Raises Undecided that names `what` it is of, and lists every place tried with its answer.
        """
        if self.repository.has_tree(commit):
            return
        tried = []
        for place in list_places(url, commit, self.site):
            try:
                self._bring_from(place, commit, update)
            except Missing as error:
                tried.append(f"{place}: {error}")
            else:
                return
        name = name_repository(url)
        raise Undecided(
            f"commit {commit} could not be fetched; tried:",
            what,
            f"have {name}.git on a mirror in HALLMARK_MIRRORS, or in a folder in HALLMARK_WHEELS: it or a bundle",
            tried,
        )

    def find_tag(self, url: str, tag: str) -> str:
        """The commit that a repository's own address has under a tag, empty where there is no such tag.

        Raises Undecided where it does not answer.
        """
        reference = f"refs/tags/{tag}"
        peeled = f"{reference}^{{}}"  # of an annotated tag, which is an object of its own
        try:
            with self._asking(url):
                listed = self.repository.run("ls-remote", "--", url, reference, peeled).decode()
        except Missing as error:
            raise Undecided(f"its tags cannot be listed: {error}", url, "run the same command again") from error
        found = {name: commit for commit, _, name in (line.partition("\t") for line in listed.splitlines())}
        return found.get(peeled) or found.get(reference, "")

    def _bring_from(self, place: str, commit: str, update: Update) -> None:
        """Have a commit out of one place. Raises Missing with what was said there."""
        with self._asking(place):
            try:
                self.repository.fetch(place, [commit], update, "--depth", "1")
            except Missing as error:
                if _UNREACHABLE.search(str(error)) or _GONE in str(error):
                    raise
                # Some give only what they have a name for, or no part of a history.
                names = [f"+refs/{kind}/*:refs/fetched/{commit}/{kind}/*" for kind in ("heads", "tags")]
                self.repository.fetch(place, names, update)
        if not self.repository.has_tree(commit):
            raise Missing("has no such commit, or only a part of it")

    @contextmanager
    def _asking(self, place: str) -> Iterator[None]:
        """Around a question to a place: a host that could not be reached once is not asked again."""
        host = urlsplit(place).netloc
        if host in self._unreachable:
            raise Missing(self._unreachable[host])
        try:
            yield
        except Missing as error:
            if host and _UNREACHABLE.search(str(error)):
                self._unreachable[host] = str(error)
            raise


def list_places(url: str, commit: str, site: Site) -> list[str]:
    """Where a repository may be: its address, the site's mirrors (`MIRROR/NAME.git`), and folders of this machine.

    In a folder it is a repository (`NAME.git` or `NAME`) or a bundle (`NAME-COMMIT.bundle`).
    """
    name = name_repository(url)
    names = (f"{name}.git", name, f"{name}-{commit}.bundle")
    local: list[Path] = [folder / each for folder in site.wheels for each in names]
    mirrors = [f"{mirror}/{name}.git" for mirror in site.mirrors]
    return [url, *mirrors, *(str(path.resolve()) for path in local if path.exists())]


def name_repository(url: str) -> str:
    """The last part of an address without `.git`: `flash-attention`."""
    return url.rstrip("/").rpartition("/")[2].removesuffix(".git")
