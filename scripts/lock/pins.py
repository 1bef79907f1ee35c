"""What upstream's CMake files pin: a commit or tag that they would fetch with git, an archive's SHA-256."""

from __future__ import annotations

import re
from collections.abc import Mapping

# `GIT_TAG abc`, `GIT_TAG ${CUTLASS_REVISION}`, `set(CUTLASS_REVISION "v4.4.2")`, `URL_HASH SHA256=abc`.
_SET = re.compile(r"^\s*set\s*\(\s*(\w+)\s+\"?([^\s\")]+)\"?", re.MULTILINE | re.IGNORECASE)
_GIT = re.compile(r"\bGIT_REPOSITORY\s+\"?([^\s\")]+)\"?\s+GIT_TAG\s+\"?([^\s\")]+)\"?")
_ARCHIVE = re.compile(r"\bURL\s+\"?([^\s\")]+)\"?\s+URL_HASH\s+\"?SHA256=([^\s\")]+)\"?")
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)


def find_revisions(text: str, repository: str) -> set[str]:
    """The commits and tags at which a CMake file fetches a repository: more than one where a condition chooses."""
    return _find(text, _GIT, repository)


def find_hashes(text: str, url: str) -> set[str]:
    """The SHA-256s that a CMake file expects of the archive at an address."""
    return {found.lower() for found in _find(text, _ARCHIVE, url)}


def _find(text: str, pattern: re.Pattern[str], wanted: str) -> set[str]:
    text = _COMMENT.sub("", text)
    values: dict[str, set[str]] = {}
    for name, value in _SET.findall(text):
        values.setdefault(name, set()).add(value)
    return {
        each
        for address, pin in pattern.findall(text)
        if _same(wanted, _expand(address, values))
        for each in _expand(pin, values)
    }


def _expand(word: str, values: Mapping[str, set[str]]) -> set[str]:
    """What a word stands for: itself, or one word for each value of the variables in it."""
    variable = re.search(r"\$\{(\w+)\}", word)
    if not variable:
        return {word}
    others = {name: found for name, found in values.items() if name != variable[1]}  # one that names itself must end
    found = {word.replace(variable[0], value) for value in values.get(variable[1], ())}
    return {each for item in found for each in _expand(item, others)}


def _same(wanted: str, addresses: set[str]) -> bool:
    return any(_normalise(address) == _normalise(wanted) for address in addresses)


def _normalise(address: str) -> str:
    return address.rstrip("/").removesuffix(".git").lower()
