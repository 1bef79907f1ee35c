from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from scripts.pipeline.candidate import Candidate, read_candidate, write_candidate
from scripts.workspace import Workspace
from tests.unit.builders import write

KNOWN = Candidate("serve-cpu", "b" * 64, "sha256:" + "d" * 64, 10, 1.5)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert read_candidate(workspace, KNOWN.build_id) is None
    write_candidate(workspace, KNOWN)
    assert read_candidate(workspace, KNOWN.build_id) == KNOWN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "3",
        "{}",
        json.dumps(asdict(KNOWN) | {"digest": 3}),
        json.dumps(asdict(KNOWN) | {"digest": "sha256:../../x"}),
        json.dumps(asdict(KNOWN) | {"build_id": "c" * 64}),
        json.dumps(asdict(KNOWN) | {"more": 1}),
    ],
)
def test_a_damaged_record_is_none(text: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write(workspace.run(KNOWN.build_id) / "build.json", text)
    assert read_candidate(workspace, KNOWN.build_id) is None
