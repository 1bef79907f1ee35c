"""Text without what names a person, a machine, a place or a device."""

from __future__ import annotations

import getpass
import os
import platform
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from scripts.files import in_home
from scripts.site import Site

# Names that say nothing of whose machine it is; "needs root" is to stay as it is.
_EVERYWHERE = {"", "root", "localhost", "~"}
_PATTERNS = (
    (re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s,;)`'\"]*[^\s,;:.)`'\"]"), "<address>"),
    (re.compile(r"host='[^']*'"), "host=<address>"),  # as the libraries that connect quote one
    (re.compile(r"[\w.+-]+@[\w.-]+"), "<address>"),
    (re.compile(r"(?<![\w<>./~])~?(?:/[^\s/:,;)`'\"]+)+/?"), "<path>"),
    (re.compile(r"(?i)\b(?:GPU|MIG)-[0-9a-f][0-9a-f/-]*\b"), "<id>"),
    (re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"(?i)\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<address>"),
)
# No part of a word: `c10::Error` and `f()::g` are C++. Bounded, as an address is: a log may have a line of nothing but
# digits.
_PART = r"[0-9A-Fa-f:.]{0,45}"
_MAYBE_IPV6 = re.compile(rf"(?<![^\W_])(?!(?<=[)>])::){_PART}:[0-9A-Fa-f.]{{0,15}}:{_PART}(?![^\W_])(?:%\w+)?")
# WSL's kernels have four numbers, as addresses do: 5.15.153.1-microsoft.
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d|-microsoft)")


@dataclass(frozen=True)
class Private:
    """What must not be said: words (host and user names), folders, and whole names such as the registry's."""

    words: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


def find_private() -> Private:
    """What is known here by a name that is nobody else's business."""
    words = {platform.node(), platform.node().partition(".")[0], in_home("~").name}
    with suppress(OSError, KeyError):  # a number that no account has
        words.add(getpass.getuser())
    folders = {Path.cwd(), in_home("~"), Path(sys.prefix)}
    names = {os.environ.get("DOCKER_HOST", "")} - {""}
    return Private(frozenset(words - _EVERYWHERE), frozenset(map(str, folders)), frozenset(names))


def add_private(private: Private, engine: str, address: str, site: Site, folders: Iterable[Path | None]) -> Private:
    """The same with the engine's name and address, other folders, and what the site is set up with."""
    return Private(
        private.words | ({engine, *_name_parts(site.gpu_host)} - _EVERYWHERE),
        private.folders | {str(folder) for folder in (*folders, *site.wheels) if folder},
        private.names | {address, site.registry, site.registry.partition("/")[0], *site.mirrors, site.gpu_host} - {""},
    )


def _name_parts(address: str) -> set[str]:
    """The user, the host and its first label in an engine's address, or a context's name: what errors say alone."""
    rest = address.partition("://")[2] or address
    user, _, host = rest.partition("/")[0].rpartition("@")
    name = re.sub(r":\d+$", "", host).strip("[]")
    return {user.partition(":")[0], name} | (set() if _IPV4.fullmatch(name) else {name.partition(".")[0]})


def redact(text: str, private: Private) -> str:
    """The text with a word in place of each name, folder, address and identifier. Versions stay as they are."""
    for name in _longest_first(private.names):
        text = _replace(text, name, "<address>")
    for folder in _longest_first(private.folders - {"/"}):
        text = re.sub(rf"(?<![\w<]){re.escape(folder)}(?:/[^\s:,;)`'\"]*)?", "<path>", text)
    for pattern, word in _PATTERNS:
        text = pattern.sub(word, text)
    text = _IPV4.sub("<address>", _MAYBE_IPV6.sub(_replace_ipv6, text))
    for word in _longest_first(private.words):
        text = _replace(text, word, "<name>")
    return text


def _longest_first(words: frozenset[str]) -> list[str]:
    return sorted(words - {""}, key=lambda word: (-len(word), word))


def _replace(text: str, word: str, by: str) -> str:
    """Replace a word, with the domain that follows it, wherever it is not a part of another."""
    return re.sub(rf"(?i)(?<![^\W_]){re.escape(word)}(?:\.[\w-]+)*(?![^\W_])", by, text)


def _replace_ipv6(match: re.Match[str]) -> str:
    """An address, with what of the sentence around it stands at its ends. A time of day is none, and stays."""
    found = match[0]
    bare = found.partition("%")[0]
    for start in (0, 1):
        for text in (bare[start:], bare[start:].rstrip(":."), bare[start:].rstrip(".")):
            try:
                IPv6Address(text)
            except ValueError:
                continue
            return found[:start] + "<address>"
    return found
