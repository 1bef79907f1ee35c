"""What a test result says, and whether that is enough: exactly the checks that are required, on the GPU it names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.attest.statement import Statement
from scripts.text import one_line

GOOD = ("PASSED", "WARNED")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class Refusal(Exception):
    """What was shown to be wrong, in words."""


@dataclass(frozen=True)
class Target:
    """The GPU, or the processor, that a cell is for: the target's id, its name, its compute capability (or empty), and
    the CUDA line (or empty)."""

    id: str
    name: str
    compute: str
    cuda: str


@dataclass(frozen=True)
class Expected:
    """What a checkout requires of a cell: its target, the checks that must pass, and those that decide nothing."""

    target: Target
    required: frozenset[str]
    informative: frozenset[str]


@dataclass(frozen=True)
class Tested:
    """A test result as it was read. `finished` is a time in UTC; `hosts` describe the machines that it was seen on.

    `statements` are the digests of those that belong to it, by the types of their predicates.
    """

    result: str
    cell: str
    tags: tuple[str, ...]
    target: Target
    passed: tuple[str, ...]
    warned: tuple[str, ...]
    failed: tuple[str, ...]
    required: tuple[str, ...]
    informative: tuple[str, ...]
    scenarios: tuple[str, ...]
    hosts: tuple[dict[str, str], ...]
    finished: str
    driver_floor: str
    statements: dict[str, str]


def read_tested(statement: Statement) -> Tested:
    """Read a test result's predicate. Raises ValueError, with a cause for people, for one that is not ours."""
    predicate = statement.predicate
    try:
        cuda: dict[str, Any] = predicate["cuda"] or {}
        target: dict[str, Any] = predicate["target"]
        names = [as_text(target[key]) for key in ("id", "name", "compute")]
        tested = Tested(
            result=as_text(predicate["result"]),
            cell=as_text(predicate["cell"]),
            tags=_texts(predicate["tags"]),
            target=Target(names[0], names[1], names[2], as_text(cuda.get("line", ""))),
            passed=_texts(predicate["passedTests"]),
            warned=_texts(predicate["warnedTests"]),
            failed=_texts(predicate["failedTests"]),
            required=_texts(predicate["requiredTests"]),
            informative=_texts(predicate["informativeTests"]),
            scenarios=_texts([each["name"] for each in predicate["configuration"]]),
            hosts=tuple({as_text(key): as_text(value) for key, value in host.items()} for host in predicate["hosts"]),
            finished=as_text(predicate["finished"]),
            driver_floor=as_text(cuda.get("driver", "")),
            statements={
                as_text(kind): f"sha256:{as_text(digest['sha256'])}" for kind, digest in predicate["statements"].items()
            },
        )
    except KeyError as error:
        raise ValueError(f"a test result without {error.args[0]!r}") from None
    except (TypeError, AttributeError):
        raise ValueError("a test result of another form") from None
    if not _TIME.fullmatch(tested.finished):
        raise ValueError("a test result without the time of its end")
    return tested


def as_text(value: object) -> str:
    """A text, with what could upset a terminal made harmless. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError
    return one_line(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(as_text, value))


def check_result(tested: Tested) -> str:
    """Raise Refusal unless it passed; how it did, in words."""
    if tested.result not in GOOD:
        failed = f": {list_some(tested.failed)}" if tested.failed else ""
        raise Refusal(f"the result is {tested.result}{failed}")
    return tested.result


def check_target(tested: Tested, expected: Expected | None) -> str:
    """Raise Refusal unless it was seen on the GPU that it says it is for, and that a checkout says its cell is for."""
    target = tested.target
    if expected and target != expected.target:
        raise Refusal(f"it is for {_describe(target)}, and {tested.cell} is for {_describe(expected.target)}")
    if not tested.hosts:
        raise Refusal("it does not say on which machine")
    if not target.compute:
        return f"{target.name}, as the cell's"
    seen = sorted({host.get("gpu", "no GPU") for host in tested.hosts})
    if seen != [target.name]:
        raise Refusal(f"it was seen on {', '.join(seen)}, and is for {target.name}")
    if not all(host.get("driver") for host in tested.hosts):
        raise Refusal("it does not say with which driver")
    return f"seen on {target.name} (compute capability {target.compute})"


def check_tests(tested: Tested, expected: Expected | None) -> str:
    """Raise Refusal unless exactly the checks passed that are required, by the statement and by a checkout."""
    if not tested.required:
        raise Refusal("no check is required, so nothing was shown")
    if tested.failed:
        raise Refusal(f"failed: {list_some(tested.failed)}")
    named = Counter([*tested.passed, *tested.warned])
    if twice := sorted(name for name, count in named.items() if count > 1):
        raise Refusal(f"named twice: {list_some(twice)}")
    required = set(tested.required)
    if missing := sorted(required - set(tested.passed)):
        raise Refusal(f"required, and not passed: {list_some(missing)}")
    if extra := sorted(set(named) - required - set(tested.informative)):
        raise Refusal(f"nobody asked for: {list_some(extra)}")
    words = f"{len(required)} of {len(required)} required checks passed"
    if expected is None:
        return f"{words}; this installation does not know the cell, so the statement alone says which"
    if missing := sorted(expected.required - required):
        raise Refusal(f"this checkout requires more, so another version was tested: {list_some(missing)}")
    if extra := sorted(required - expected.required):
        raise Refusal(f"this checkout does not know: {list_some(extra)}")
    if extra := sorted(set(tested.informative) - expected.informative - expected.required):
        raise Refusal(f"this checkout does not know: {list_some(extra)}")
    return f"{words}, which are those of this checkout"


def list_some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"


def _describe(target: Target) -> str:
    cuda = f" and CUDA {target.cuda}" if target.cuda else ""
    return f"{target.name}{f' ({target.compute})' if target.compute else ''}{cuda}"
