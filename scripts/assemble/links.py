"""Symbolic links that image.toml asks for, made of what the distributions have."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection

from scripts.assemble.tree import Entry, make_symlink, parents
from scripts.errors import ConfigError
from scripts.matrix import Link

_NAME = "{name}"


def make_links(links: Collection[Link], files: Collection[str], place: str) -> list[Entry]:
    """The entries of these rules, over the image's files (relative to its root). `place` is the rules' own file.

    Raises ConfigError for a link that leads nowhere, one in the place of something else, and a pattern without a file.
    """
    known = {folder for path in files for folder in parents(path)} | set(files)
    made: dict[str, Entry] = {}
    for link in links:
        found = _expand(link, known) if link.is_pattern else [(link.path.lstrip("/"), link.target)]
        fresh = [(path, target) for path, target in found if path not in made and path not in known]
        if not fresh:
            cause = "finds no file" if link.is_pattern else "is there already"
            raise ConfigError(f"the link {link.path} {cause}", place, "correct the rule, or delete it")
        for path, target in fresh:
            if _resolve(path, target) not in known | made.keys():
                raise ConfigError(f"the link {link.path} would lead nowhere ({target})", place, "correct its target")
            made[path] = make_symlink(path, target)
    return list(made.values())


def _expand(link: Link, known: Collection[str]) -> list[tuple[str, str]]:
    """Path and target for each file or folder that the target's pattern matches; of several the first by name."""
    folder, name = posixpath.split(link.path.lstrip("/"))
    target_folder, target_name = posixpath.split(link.target)
    there = re.compile(re.escape(_resolve(link.path.lstrip("/"), target_folder or ".")).replace(r"\*", "[^/]*"))
    pattern = re.escape(target_name).replace(re.escape(_NAME), "(?P<name>.+?)", 1).replace(r"\*", ".*")
    found: dict[str, str] = {}
    for path in sorted(known):
        above, base = posixpath.split(path)
        if there.fullmatch(above) and (match := re.fullmatch(pattern, base)):
            target = posixpath.join("/" + above if "*" in target_folder else target_folder, base)
            found.setdefault(posixpath.join(folder, name.replace(_NAME, match["name"])), target)
    return list(found.items())


def _resolve(path: str, target: str) -> str:
    """The path of the image that a link at `path` leads to, relative to its root."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)).lstrip("/")
