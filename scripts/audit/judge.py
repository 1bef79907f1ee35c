"""What a policy makes of the libraries, or what is a problem without one; and what a build made worse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from scripts.audit.coverage import LibraryAudit, judge_library, newest_driver
from scripts.audit.library import Library
from scripts.audit.place import find_places
from scripts.errors import Problem
from scripts.gpucode import toolkit_of_capability
from scripts.matrix import AuditRule
from scripts.model import Coverage


@dataclass(frozen=True)
class Audit:
    """The libraries of a wheel, a folder or an image, judged for one compute capability."""

    compute: str
    libraries: tuple[LibraryAudit, ...]
    problems: tuple[Problem, ...]

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def driver(self) -> str:
        """The oldest driver that compiles all PTX which has to be compiled; empty where none has to be."""
        return newest_driver(library.driver for library in self.libraries)


def judge_unknown(libraries: Iterable[Library], compute: str, known: Sequence[AuditRule] = ()) -> Audit:
    """Judge libraries that nobody wrote a policy for: one that is missing or unreadable as a whole is a problem.

    `known` are rules that were written for other images. Where one of them knows a library, what it accepts is no
    problem here either, for the reason that it gives; it demands nothing. Having no GPU code at all is a problem.
    """
    problems: list[Problem] = []
    rows = []
    for row, place in _judge_all(libraries, compute):
        excuses = [rule for rule in known if any(matches(place, pattern) for pattern in rule.libraries)]
        excuse = next((rule for rule in excuses if not row.coverage.is_worse_than(rule.accept)), None)
        if excuse:
            row = replace(row, reason=excuse.reason)
        elif row.coverage.is_worse_than(Coverage.PARTLY):
            problems.append(_describe(row, compute, Coverage.PARTLY, with_rule=False))
        rows.append(row)
    return Audit(compute, tuple(rows), tuple(problems or _find_nothing(rows)))


def judge(libraries: Iterable[Library], compute: str, rules: Sequence[AuditRule]) -> Audit:
    """Judge libraries by a policy: the first rule with a pattern that matches a library decides.

    A library that no pattern matches is a problem, and so is a pattern that decides nothing: it was written for
    something that is no longer there. So is having no GPU code at all.
    """
    problems: list[Problem] = []
    rows = []
    used: set[tuple[int, str]] = set()
    for row, place in _judge_all(libraries, compute):
        number, pattern = _find_rule(place, rules)
        if number is not None:
            used.add((number, pattern))
            row = replace(row, reason=rules[number].reason)
        rows.append(row)
        if number is None:
            problems.append(
                Problem(
                    f"carries GPU code ({row.coverage} on {compute}), and no rule names it",
                    row.path,
                    "add it to a rule of [[audit]] in image.toml",
                )
            )
        elif row.coverage.is_worse_than(rules[number].accept):
            problems.append(_describe(row, compute, rules[number].accept, with_rule=True))
    problems += _find_nothing(rows)
    problems += [
        Problem(f"the pattern `{pattern}` decides nothing", "[[audit]]", "correct it, or delete it")
        for number, rule in enumerate(rules)
        for pattern in rule.libraries
        if (number, pattern) not in used
    ]
    return Audit(compute, tuple(rows), tuple(problems))


def _find_nothing(rows: Sequence[LibraryAudit]) -> list[Problem]:
    cause = "there is no GPU code at all"
    return [] if rows else [Problem(cause, "the whole of it", "this is no build for a GPU: audit one that is")]


def find_losses(before: Audit, after: Audit) -> list[Problem]:
    """What an image can do less than the wheels that went into it: each library must be there, and be as good."""
    problems = []
    was, now = (find_places(row.path for row in audit.libraries) for audit in (before, after))
    by_place: dict[str, list[LibraryAudit]] = {}
    for other in after.libraries:
        by_place.setdefault(now[other.path], []).append(other)
    for row in before.libraries:
        found = by_place.get(was[row.path], [])
        for other in found:
            counts = (other.native, other.jit, other.missing)
            if counts != (row.native, row.jit, row.missing):
                had = f"{row.native} native, {row.jit} by JIT, {row.missing} missing"
                cause = f"was {had} in its wheel, and is {counts[0]} native, {counts[1]} by JIT, {counts[2]} missing"
                problems.append(Problem(cause, other.path, "report this: the build changed its GPU code"))
        if not found:
            problems.append(Problem("was in its wheel, and is not in the image", row.path, "read build.log"))
    return problems


def matches(place: str, pattern: str) -> bool:
    """Whether a pattern matches the place of a library: `torch/lib/*.so` is torch's wherever that was installed."""
    return fnmatchcase(place, pattern)


def _judge_all(libraries: Iterable[Library], compute: str) -> Iterator[tuple[LibraryAudit, str]]:
    """What a GPU finds in each library, sorted by path, and the library's place.

    What has several names (hard links) is judged once.
    """
    libraries = sorted(libraries, key=lambda library: library.path)
    places = find_places(library.path for library in libraries)
    judged: dict[tuple[int, str], LibraryAudit] = {}
    for library in libraries:
        key = id(library.containers), library.fault
        if key not in judged:
            judged[key] = judge_library(library, compute)
        yield replace(judged[key], path=library.path), places[library.path]


def _find_rule(place: str, rules: Sequence[AuditRule]) -> tuple[int | None, str]:
    for number, rule in enumerate(rules):
        for pattern in rule.libraries:
            if matches(place, pattern):
                return number, pattern
    return None, ""


def _describe(row: LibraryAudit, compute: str, accepted: Coverage, *, with_rule: bool) -> Problem:
    has = ", ".join(row.architectures) or "nothing that is linked"
    if row.coverage is Coverage.UNREADABLE:
        return Problem(f"cannot be read: {row.fault}", row.path, "get the file again; if it is right, report this")
    if row.coverage is Coverage.MISSING:
        cause = f"no code that compute capability {compute} could run (it has {has})"
    else:
        total = row.native + row.jit + row.missing
        cause = f"{row.coverage} on {compute}, and {accepted} is required: of {total} containers "
        cause += f"{row.native} are native, {row.jit} need JIT, {row.missing} have nothing usable (it has {has})"
    step = (
        f"its kernels fail there with `no kernel image is available`: take a build for CUDA {_first(compute)} or newer"
    )
    step += f" that includes sm_{compute.replace('.', '')}"
    if with_rule:
        step += ", or accept it in image.toml with the reason that nothing needs it"
    return Problem(cause, row.path, step)


def _first(compute: str) -> str:
    try:
        return toolkit_of_capability(compute)
    except ValueError:
        return "of its time"
