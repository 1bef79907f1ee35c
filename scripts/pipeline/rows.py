"""What a run is asked for, and the rows that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from scripts.errors import ExitCode, Problem
from scripts.model import Verdict

UNKNOWN = "–"


class Stage(IntEnum):
    """How far to go; each stage includes those before it. A build for a GPU includes its audit."""

    BUILD = 1
    SMOKE = 2
    PUBLISH = 3


@dataclass(frozen=True)
class Options:
    """How to run: cells at a time, whether others go on after one has failed, and the digest that must come out."""

    jobs: int = 1
    keep_going: bool = True
    digest: str = ""


@dataclass
class CellReport:
    """One cell's row in the summary: what each stage came to, and the exit code that the cell alone would give."""

    cell: str
    build: str = UNKNOWN
    audit: str = UNKNOWN
    smoke: str = UNKNOWN
    verdict: str = UNKNOWN
    digest: str = ""
    size: int = 0
    seconds: float = 0.0
    tag: str = ""
    exit_code: ExitCode = ExitCode.INCONCLUSIVE
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class CellVerdict:
    """What was decided of a cell's current build, and why it was not accepted."""

    cell: str
    digest: str
    verdict: Verdict
    reasons: tuple[str, ...]
