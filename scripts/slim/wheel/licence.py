"""Whether a distribution's licence lets us change its files: only where it says so in words that we know.

Judged by what the wheel itself says: `License-Expression`, `License`, the licence classifiers, and how its licence
files begin (only that: further down, torch's quotes the notices of everybody whose code is in it, NVIDIA's among them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.message import Message

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from scripts.errors import Problem

_OPEN = frozenset(
    [
        "0BSD",
        "AFL-3.0",
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-1.1",
        "Apache-2.0",
        "Artistic-2.0",
        "BlueOak-1.0.0",
        "BSD-1-Clause",
        "BSD-2-Clause",
        "BSD-2-Clause-Patent",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "BSD-3-Clause-LBNL",
        "BSL-1.0",
        "CC0-1.0",
        "ECL-2.0",
        "EPL-2.0",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "HPND",
        "ISC",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "NCSA",
        "PostgreSQL",
        "PSF-2.0",
        "Python-2.0",
        "UPL-1.0",
        "Unicode-3.0",
        "Unlicense",
        "W3C",
        "X11",
        "Zlib",
    ]
)
# What people wrote into `License` before there were expressions.
_OPEN_NAMES = re.compile(
    r"(the )?(apache( software)?( license)?,?( version)? ?-?2(\.0)?( license)?|apache software license|"
    r"(modified |new |simplified )?bsd([- ][23][- ]clause)?( license)?|[23]-clause bsd( license)?|"
    r"mit( license)?|isc( license)?|mpl[- ]?2\.0|mozilla public license 2\.0( \(mpl 2\.0\))?)",
    re.IGNORECASE,
)
_OPEN_TEXTS = {
    "Apache-2.0": re.compile(r"apache license\s+version 2\.0, january 2004", re.IGNORECASE),
    "MIT": re.compile(r"permission is hereby granted, free of charge", re.IGNORECASE),
    "BSD": re.compile(r"redistribution and use in source and binary forms", re.IGNORECASE),
}
_PROPRIETARY = re.compile(r"proprietary|LicenseRef-NVIDIA|NVIDIA (software|end user|sla)", re.IGNORECASE)
_AGREEMENT = re.compile(r"(?=.*\bnvidia\b)(?=.*\blicense\b)(?=.*\bagreement\b)", re.IGNORECASE | re.DOTALL)
_OPEN_CLASSIFIER = "License :: OSI Approved :: "
_HEAD = 1000  # characters of a licence file that count
MOST_HEAD = 4 * _HEAD  # of which they can take so many bytes
_NEXT_STEP = "use the wheel as its makers published it"


def judge_licence(metadata: Message, files: Mapping[str, str]) -> Problem | None:
    """Why a distribution may not be slimmed, or None if it may; `files` are its licence files by name, as text."""
    place = f"{metadata.get('Name', '?')} {metadata.get('Version', '?')}"
    heads = {name: text[:_HEAD] for name, text in files.items()}
    closed = [*_closed_statements(metadata), *_closed_files(heads)]
    if closed:
        contrary = [f"`{name}` reads as {kind}" for name, kind in _open_files(heads)]
        but = f" (although {' and '.join(contrary)})" if contrary else ""
        return Problem(f"it may not be modified: {'; '.join(closed)}{but}", place, _NEXT_STEP)
    expressions = _fields(metadata, "License-Expression")
    if any(expressions):
        if unknown := [licence for expression in expressions for licence in _unknown_licences(expression)]:
            return Problem(f"its licence is not known to be open: {', '.join(unknown)}", place, _NEXT_STEP)
        return None
    if any(line.startswith(_OPEN_CLASSIFIER) for line in _classifiers(metadata)):
        return None
    statements = [" ".join(field.split()) for field in _fields(metadata, "License")]
    if len(set(statements)) > 1:
        listed = ", ".join(f"`{field[:80]}`" for field in statements[:5])
        return Problem(f"its metadata says several things of its licence: {listed}", place, _NEXT_STEP)
    stated = statements[0] if statements else ""
    if _OPEN_NAMES.fullmatch(stated) or any(text.search(stated[:_HEAD]) for text in _OPEN_TEXTS.values()):
        return None
    if stated and not _unknown_licences(stated):
        return None
    if stated and stated.upper() != "UNKNOWN":
        return Problem(f"its licence is not known to be open: `{stated[:80]}`", place, _NEXT_STEP)
    if any(True for _ in _open_files(heads)):
        return None
    return Problem("it does not say which licence it is under", place, _NEXT_STEP)


def _fields(metadata: Message, name: str) -> list[str]:
    """All fields of a name: where there are several, no tool agrees with the next on which one counts."""
    return [str(field) for field in metadata.get_all(name, [])]


def _classifiers(metadata: Message) -> list[str]:
    return _fields(metadata, "Classifier")


def _closed_statements(metadata: Message) -> Iterable[str]:
    for name in ("License-Expression", "License"):
        for field in _fields(metadata, name):
            head = field.strip()[:_HEAD]
            if _PROPRIETARY.search(head):
                yield f"its metadata says `{name}: {head.splitlines()[0]}`"
    for line in _classifiers(metadata):
        if line.startswith("License ::") and _PROPRIETARY.search(line):
            yield f"its metadata says `Classifier: {line}`"


def _closed_files(heads: Mapping[str, str]) -> Iterable[str]:
    open_files = {name for name, _ in _open_files(heads)}
    for name, head in heads.items():
        if name not in open_files and (_AGREEMENT.search(head) or _PROPRIETARY.search(head)):
            yield f"`{name}` is an agreement with NVIDIA"


def _open_files(heads: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for name, head in heads.items():
        for kind, text in _OPEN_TEXTS.items():
            if text.search(head):
                yield name, kind
                break


def _unknown_licences(expression: str) -> list[str]:
    """The licences of an SPDX expression that are not known to be open; of alternatives, none if one of them is."""
    try:
        canonical = str(canonicalize_license_expression(expression))
    except InvalidLicenseExpression:
        return [f"`{expression[:80]}`"]
    # An exception only ever permits more. Alternatives within parentheses are not weighed: all of them have to be open.
    words = re.sub(r" WITH \S+", "", canonical.replace("(", " ").replace(")", " "))
    alternatives = [words] if "(" in canonical else words.split(" OR ")
    unknown = [
        sorted({word for word in alternative.split() if word not in ("AND", "OR")} - _OPEN)
        for alternative in alternatives
    ]
    return [] if not all(unknown) else [f"`{licence}`" for licence in unknown[0]]
