"""Errors as part of the interface: what happened, where, what to do next, and the exit code.

The exit codes are the whole contract with CI (see `ExitCode`). A rejected image is *not* an error: it is a
verdict. An exception means that nothing could be decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from scripts.text import one_line

_LONGEST_PLACE = 400  # characters: the cause beside it is what is wanted


class ExitCode(IntEnum):
    """What the process tells its caller; with several cells, the worst of them (see `worst`)."""

    ACCEPTED = 0
    REJECTED = 1
    USAGE = 2
    INCONCLUSIVE = 3
    BUILD_FAILED = 4
    INTERRUPTED = 130


# From harmless to worst. A wrong configuration outranks what was decided under it, and an interruption outranks all.
_SEVERITY = (
    ExitCode.ACCEPTED,
    ExitCode.INCONCLUSIVE,
    ExitCode.REJECTED,
    ExitCode.BUILD_FAILED,
    ExitCode.USAGE,
    ExitCode.INTERRUPTED,
)


def worst(codes: list[ExitCode]) -> ExitCode:
    """The exit code of several cells together; of none at all, INCONCLUSIVE (nothing was decided)."""
    return max(codes, key=_SEVERITY.index, default=ExitCode.INCONCLUSIVE)


@dataclass(frozen=True)
class Problem:
    """One cause, the place it was found in (a file, a key, a package) and the next step, each one sentence or less.

    `details` are lines that belong to the cause: what was tried, the end of a log. All of it may quote what others
    wrote, and is made safe where it is shown.
    """

    cause: str
    place: str = ""
    next_step: str = ""
    details: tuple[str, ...] = ()

    def lines(self, before: str = "") -> list[str]:
        """What is shown of it, safe, after a word such as `error: ` on the first line."""
        place = f"{one_line(self.place, _LONGEST_PLACE)}: " if self.place else ""
        shown = [one_line(f"{before}{place}{self.cause}"), *(one_line(f"    {line}") for line in self.details)]
        return [*shown, one_line(f"  next: {self.next_step}")] if self.next_step else shown

    def __str__(self) -> str:
        return "\n".join(self.lines())


class HallmarkError(Exception):
    """An expected failure: one or more problems, shown without a traceback, and an exit code."""

    exit_code: ClassVar[ExitCode] = ExitCode.INCONCLUSIVE

    def __init__(
        self, cause: str | list[Problem], place: str = "", next_step: str = "", details: Iterable[str] = ()
    ) -> None:
        self.problems = [Problem(cause, place, next_step, tuple(details))] if isinstance(cause, str) else cause
        super().__init__("\n".join(map(str, self.problems)))


class ConfigError(HallmarkError):
    """What the user wrote or asked for cannot be followed (exit 2)."""

    exit_code = ExitCode.USAGE


class Undecided(HallmarkError):
    """The surroundings failed, not the image: no engine, no disk, no network, no GPU (exit 3)."""

    exit_code = ExitCode.INCONCLUSIVE


class BuildFailed(HallmarkError):
    """A build step ran and failed (exit 4)."""

    exit_code = ExitCode.BUILD_FAILED
