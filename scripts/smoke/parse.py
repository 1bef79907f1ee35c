"""Evidence from JSON values that anybody may have written, of this version or an earlier one."""

from __future__ import annotations

import math
from typing import Any

from scripts.model import Outcome, Result
from scripts.oci.descriptor import is_digest
from scripts.smoke.smoke import Evidence

_FIRST = "default"  # the scenario of evidence from before there were scenarios


def parse_evidence(data: Any) -> Evidence:
    """The evidence of one scenario. Raises ValueError, KeyError or TypeError for what is none."""
    results = tuple(
        Result(
            expect_text(each["check"]),
            Outcome(each["outcome"]),
            expect_text(each["detail"]),
            expect_table(each["measured"]),
        )
        for each in data["results"]
    )
    host = {expect_text(key): expect_text(value) for key, value in expect_table(data["host"]).items()}
    return Evidence(
        expect_text(data.get("scenario", _FIRST)),
        expect_text(data["smoke_id"]),
        expect_digest(data["digest"]),
        results,
        expect_number(data["seconds"]),
        expect_text(data["finished"]),
        host,
    )


def expect_text(value: Any) -> str:
    """A text. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, not {value!r}")
    return value


def expect_number(value: Any) -> float:
    """A number that is one: neither text nor NaN. Raises TypeError or ValueError for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, not {str(value)[:40]}")
    return number


def expect_digest(value: Any) -> str:
    """A digest: it becomes part of a command that people copy, so nothing else will do. Raises ValueError."""
    if not is_digest(expect_text(value)):
        raise ValueError(f"expected a digest, not {value!r}")
    return str(value)


def expect_table(value: Any) -> dict[str, Any]:
    """A table. Raises TypeError for anything else."""
    if not isinstance(value, dict):
        raise TypeError(f"expected a table, not {value!r}")
    return value
