"""Text without what names a person, a machine, a place or a device."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from scripts.doctor.seen import Private

_PATTERNS = (
    (re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s,;)`'\"]*[^\s,;:.)`'\"]"), "<address>"),
    (re.compile(r"host='[^']*'"), "host=<address>"),  # as the libraries that connect quote one
    (re.compile(r"[\w.+-]+@[\w.-]+"), "<address>"),
    (re.compile(r"(?<![\w<>./~])~?(?:/[^\s/:,;)`'\"]+)+/?"), "<path>"),
    (re.compile(r"(?i)\b(?:GPU|MIG)-[0-9a-f][0-9a-f/-]*\b"), "<id>"),
    (re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"(?i)\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<address>"),
)
_MAYBE_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%\w+)?")
# WSL's kernels have four numbers, as addresses do: 5.15.153.1-microsoft.
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d|-microsoft)")


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
    """An address, with what of the sentence around it stands at its ends; a time of day is none, and stays."""
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
