"""Evidence that anybody may have written: of any age, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.smoke.parse import parse_evidence
from tests.unit.builders import REPOSITORY_ROOT

RESULT = {"check": "load", "outcome": "passed", "detail": "", "measured": {}}
EVIDENCE: dict[str, Any] = {
    "scenario": "serve",
    "smoke_id": "0" * 64,
    "digest": "sha256:" + "a" * 64,
    "results": [RESULT],
    "seconds": 3,
    "finished": "2026-11-29T05:00:00Z",
    "host": {"cpu": "8 × fast"},
}


def test_all_evidence_of_the_repository_is_read() -> None:
    found = [json.loads(path.read_bytes()) for path in (REPOSITORY_ROOT / "docs/evidence").glob("*-*-*/*.json")]
    read = [parse_evidence(each) for each in found]
    assert len(read) > 20 and {each.host["gpu"] for each in read} == {"NVIDIA H200"}


def test_evidence_from_before_there_were_scenarios_has_one() -> None:
    assert parse_evidence({key: value for key, value in EVIDENCE.items() if key != "scenario"}).scenario == "default"


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:0; reboot"},
        {"seconds": "3"},
        {"seconds": True},
        {"seconds": float("nan")},
        {"seconds": 10**400},
        {"host": {"gpu": 1}},
        {"host": []},
        {"finished": None},
        {"results": [RESULT | {"outcome": "fine"}]},
        {"results": [RESULT | {"detail": 1}]},
        {"results": [RESULT | {"measured": []}]},
        {"results": 7},
    ],
)
def test_what_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_evidence(EVIDENCE | change)
