"""What the catalogue says, as data: cells with their state, the builds that there is evidence of, and the feed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from scripts.bundle.owners import OwnersRun
from scripts.catalogue.layers import LayerPart, Shared
from scripts.compare.types import Comparison
from scripts.feed import Entry
from scripts.matrix import Matrix
from scripts.model import Cell, Result, Verdict
from scripts.pipeline import Job
from scripts.plan import PlannedCell
from scripts.smoke.smoke import Evidence


class State(StrEnum):
    """What a visitor is told of a cell first."""

    STAMPED = "stamped"
    OWNERS = "seen by owners"
    RETIRED = "retired"
    REJECTED = "rejected"
    UNDECIDED = "undecided"
    NOT_BUILT = "not built"


class Standing(StrEnum):
    """Whether what is shown is of this checkout's build, judged by its suite; nothing where it is."""

    CURRENT = ""
    EARLIER_BUILD = "of an earlier build"
    EARLIER_SUITE = "by an earlier suite"
    UNPLACED = "of a build not known here"


_NUMBERS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,7}")
STATES = {
    Verdict.ACCEPTED: State.STAMPED,
    Verdict.REJECTED: State.REJECTED,
    Verdict.INCONCLUSIVE: State.UNDECIDED,
}


@dataclass(frozen=True)
class Audit:
    """What an audit's record says: its one result, and the driver that code has which the driver compiles."""

    result: Result
    driver: str


@dataclass(frozen=True)
class Build:
    """One digest of a cell: what was seen of it, what was decided and why, its compressed size in bytes (0: unknown).

    `verdict` is None where nobody has written one down. `source` says where the evidence lies, for people.
    """

    digest: str
    evidence: tuple[Evidence, ...] = ()
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    size: int = 0
    audit: Audit | None = None
    said: str = ""
    layers: tuple[LayerPart, ...] = ()

    @property
    def finished(self) -> str:
        """When the last of it was seen; `said` is when the feed's last line about it fell."""
        return max((self.said, *(each.finished for each in self.evidence)))

    @property
    def host(self) -> Mapping[str, str]:
        """The machine of the newest evidence; nothing without any."""
        return max(self.evidence, key=lambda each: each.finished).host if self.evidence else {}


@dataclass(frozen=True)
class CellPage:
    """All that is known of a cell. `shown` is the build that its state is about, `others` are those before it.

    `owners` are what owners of its GPU have seen, which is nobody's stamp. `shared` is what its layers have in common
    with other candidates'; `contents` lists what is in the image by today's locks, as an SBOM. `compared` are the
    comparisons that it is in, of whatever build.
    """

    job: Job
    state: State
    standing: Standing
    reasons: tuple[str, ...]
    shown: Build | None
    others: tuple[Build, ...]
    history: tuple[Entry, ...]
    versions: Mapping[str, str]
    siblings: tuple[str, ...]
    not_run: Mapping[str, str]
    serve: tuple[str, ...] = ()
    owners: tuple[OwnersRun, ...] = ()
    shared: tuple[Shared, ...] = ()
    contents: Mapping[str, Any] = field(default_factory=dict)
    compared: tuple[Comparison, ...] = ()

    @property
    def cell(self) -> Cell:
        return self.job.cell

    @property
    def driver(self) -> str:
        """The oldest driver that will do: the CUDA line's, the GPU's, and what the audit found that code asks for."""
        asked = [self.cell.cuda.driver if self.cell.cuda else "", self.cell.target.driver]
        if self.shown and self.shown.audit:
            asked.append(self.shown.audit.driver)
        return max((each for each in asked if _NUMBERS.fullmatch(each)), key=_order, default="")


@dataclass(frozen=True)
class Catalogue:
    """Every cell of the matrix in its order, the feed from the oldest line on, and what could not be read.

    `gaps` are cells that nobody has written a recipe for.
    """

    matrix: Matrix
    pages: tuple[CellPage, ...]
    feed: tuple[Entry, ...]
    gaps: tuple[PlannedCell, ...] = ()
    registry: str = ""
    unread: tuple[str, ...] = field(default_factory=tuple)
    comparisons: tuple[Comparison, ...] = ()


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
