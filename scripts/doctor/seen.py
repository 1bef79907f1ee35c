"""What was seen of a machine, and what is said of it: facts by themselves, and findings for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from scripts.engine import Engine

T = TypeVar("T")


class Mark(StrEnum):
    """Whether a thing is there. UNASKED: it is not needed here, or nobody can say yet; that is no fault."""

    THERE = "✓"
    MISSING = "✗"
    UNASKED = "–"


@dataclass(frozen=True)
class Finding:
    """One line: a mark, what it is about, what there is, and, where something is missing, what mends it."""

    mark: Mark
    topic: str
    text: str
    next_step: str = ""


@dataclass(frozen=True)
class Unseen:
    """Why a thing could not be looked at, and what to do about that."""

    cause: str
    next_step: str = ""


@dataclass(frozen=True)
class EngineSeen:
    """The engine that a build would use. `engine` is None while that does not run, `why` says why it is not the host's.

    `lacking` and `next_step` are what keeps it from being used at all; `version` is its own, or the one it would have;
    `info` what it says of itself.
    """

    embedded: bool
    why: str = ""
    engine: Engine | None = None
    version: str = ""
    buildx: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    lacking: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class GateSeen:
    """The engine of HALLMARK_GPU_HOST: its version, and by what it hands GPUs out; `refusal`: why it hands out none."""

    address: str
    version: str
    access: str = ""
    refusal: Unseen | None = None


@dataclass(frozen=True)
class Disk:
    """The file system under a folder: its number, bytes free on it, and whether we may write to the folder."""

    folder: Path
    device: int
    free: int
    writable: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory: all of it, and what programs could have now."""

    total: int
    available: int


@dataclass(frozen=True)
class Cgroup:
    """The kernel's control groups: version `1` or `2`, and whether they can limit memory."""

    version: str
    memory: bool


@dataclass(frozen=True)
class Clock:
    """Seconds since 1970: now, by this machine, and the newest time that a lock file knows of (0: there is none)."""

    now: float
    newest: int


@dataclass(frozen=True)
class RegistrySeen:
    """A registry's answer: whether credentials are kept for its host, and how many seconds its clock is ahead of ours.

    `refusal` is why it did not let us in. `ahead` is None where it does not say the time.
    """

    host: str
    credentials: bool
    ahead: float | None = None
    refusal: Unseen | None = None
