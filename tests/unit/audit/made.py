"""Libraries as a reader would have found them, written as what is in them: `120`, `90+80`, `ptx90`, `120a`, `other90`.

A container is its entries joined by `+`, a library its containers.
"""

from __future__ import annotations

from typing import Any

from scripts.audit.library import Library
from scripts.gpucode import Container, Entry
from scripts.gpucode.fatbin import LINKED, RELOCATABLE
from scripts.matrix import AuditRule
from scripts.model import Coverage

PTX_VERSION = "8.7"


def entry(text: str, size: int = 100, ptx_version: str = PTX_VERSION) -> Entry:
    if text.startswith("ptx"):
        return Entry("ptx", text[3:], "none", size, size, ptx_version)
    if text.startswith("other"):
        return Entry("other", text[5:], "none", size, size)
    return Entry("sass", text, "none", size, size)


def container(text: str, **fields: Any) -> Container:
    """`~` before it: the device linker's input."""
    section = RELOCATABLE if text.startswith("~") else LINKED
    return Container(section, 0, tuple(entry(part, **fields) for part in text.lstrip("~").split("+") if part))


def library(path: str, *containers: str, **fields: Any) -> Library:
    return Library(path, tuple(container(text, **fields) for text in containers))


def rule(accept: Coverage, *patterns: str, **fields: Any) -> AuditRule:
    return AuditRule(accept, patterns, **fields)
