"""Git trees into the cache: by commit, with their submodules, from wherever the site has the repository.

A commit hashes all that it leads to, so what comes from a mirror is what was locked, or is refused by git.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from scripts.console import Update, step
from scripts.errors import Problem, Undecided
from scripts.fetch.cache import Cache
from scripts.fetch.git import Missing
from scripts.fetch.git_tar import Entry, write_tree
from scripts.fetch.remotes import Remotes
from scripts.locks import hold
from scripts.model import LockedTree
from scripts.site import Site

DEEPEST = 8  # submodules below submodules


def fetch_trees(trees: Sequence[LockedTree], site: Site) -> Cache:
    """Bring every tree into the site's cache, as one archive each. Raises Undecided with all that failed."""
    cache = Cache(site.cache)
    missing = [tree for tree in dict.fromkeys(trees) if not cache.tree(tree).is_file()]
    if not missing:
        return cache
    problems: list[Problem] = []
    with hold(cache.root / "locks" / "git", "another fetch of git trees"):
        remotes = Remotes(site)
        for tree in missing:
            if cache.tree(tree).is_file():  # brought by whoever held the lock
                continue
            try:
                with step(f"{tree.name} {tree.tag or tree.commit[:12]}", "fetch") as update:
                    _Fetch(tree, remotes, update).write(cache)
            except Undecided as error:
                problems += error.problems
    if problems:
        raise Undecided(problems)
    return cache


@dataclass(frozen=True)
class _Fetch:
    """One tree on its way into the cache."""

    tree: LockedTree
    remotes: Remotes
    update: Update

    def write(self, cache: Cache) -> None:
        entries = self._collect(self.tree.repository, self.tree.commit, "", 0)
        self.update("writing the archive")
        try:
            write_tree(self.remotes.repository, entries, cache.tree(self.tree))
        except Missing as error:
            raise Undecided(f"{error}", self.tree.name, f"delete {cache.root / 'git'}") from error

    def _collect(self, url: str, commit: str, prefix: str, depth: int) -> list[Entry]:
        """The files of a commit and of its submodules, whose commits the tree itself names."""
        place = f"{self.tree.name}: {prefix.rstrip('/')}" if prefix else self.tree.name
        if depth > DEEPEST:
            raise Undecided(f"submodules lie more than {DEEPEST} deep", place, "list those that are needed")
        self.remotes.bring(url, commit, place, self.update)
        git = self.remotes.repository
        try:
            listing = git.run("ls-tree", "-r", "-z", "--full-tree", commit).decode("utf-8", "surrogateescape")
            entries = [Entry.parse(line, prefix) for line in listing.split("\0") if line]
        except (Missing, ValueError) as error:
            raise Undecided(
                f"the tree of {commit} cannot be laid out: {error}", place, "name another commit"
            ) from error
        found = [entry for entry in entries if not entry.is_submodule]
        submodules = {entry.path.removeprefix(prefix): entry.object_id for entry in entries if entry.is_submodule}
        if depth == 0 and self.tree.submodules is not None:
            if lost := sorted(set(self.tree.submodules) - set(submodules)):
                raise Undecided(f"has no submodule {', '.join(lost)}", place, "correct `submodules`, and lock again")
            submodules = {path: submodules[path] for path in self.tree.submodules}
        addresses = self._read_addresses(commit) if submodules else {}
        for path, its_commit in submodules.items():
            if path not in addresses:
                raise Undecided(f"its submodule {path} has no address", place, "list those that are needed")
            address = resolve_address(addresses[path], url)
            if urlsplit(address).scheme not in {"https", "http", "git", urlsplit(url).scheme}:
                # What a repository says must not reach into this machine, or ask for somebody's keys.
                cause = f"its submodule {path} is at {address}, which is not asked"
                raise Undecided(cause, place, "list those that are needed")
            found += self._collect(address, its_commit, f"{prefix}{path}/", depth + 1)
        return found

    def _read_addresses(self, commit: str) -> dict[str, str]:
        """Addresses of submodules by their folder, out of a commit's .gitmodules; none where there is no such file."""
        try:
            text = self.remotes.repository.run("config", "--null", "--list", "--blob", f"{commit}:.gitmodules")
        except Missing:
            return {}
        values: dict[str, dict[str, str]] = {}
        for item in text.decode(errors="replace").split("\0"):
            key, _, value = item.partition("\n")
            section, _, field = key.rpartition(".")
            values.setdefault(section, {})[field] = value
        return {each["path"]: each["url"] for each in values.values() if "path" in each and "url" in each}


def resolve_address(address: str, parent: str) -> str:
    """A submodule's address; one that begins with a dot is relative to that of the repository it is in."""
    return urljoin(parent.rstrip("/") + "/", address) if address.startswith(".") else address
