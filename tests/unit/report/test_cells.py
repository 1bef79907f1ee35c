"""The tables of cells: a row each, and below them every reason, next step and tag."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.errors import Problem
from scripts.feed import RETIRED, Entry
from scripts.matrix import load_matrix
from scripts.model import Verdict
from scripts.pipeline import CellReport, CellVerdict
from scripts.plan import make_plan
from scripts.report.cells import show_cells, show_reproductions, show_verdicts
from scripts.report.plan import show_plan
from scripts.reproduce import Reproduction
from tests.unit.builders import write_project

DIGEST = "sha256:" + "d" * 64
STAMPED = CellReport(
    "serve-cpu", "built in 45 s", "–", "3 of 3 passed", Verdict.ACCEPTED, DIGEST, 1_500_000, 61.25, "hallmark/serve:1"
)
FAILED = CellReport("train-cpu", problems=(Problem("a [bold] cause", "", "mend it"), Problem("another", "there")))


@pytest.fixture(autouse=True)
def _no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def test_a_plan_shows_which_cells_share_a_candidate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(make_plan(load_matrix(write_project(tmp_path))))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["serve-cu128-5090", "serve-cu128-sm120"]
    assert lines[-1] == "8 cells, 2 ready"


def test_a_run_is_a_row_a_cell_then_reasons_and_tags(capsys: pytest.CaptureFixture[str]) -> None:
    show_cells([STAMPED, FAILED])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["cell", "build", "audit", "smoke", "verdict", "digest", "size", "time"]
    assert lines[1].split()[-6:] == ["accepted", DIGEST[:19], "1.5", "MB", "61.2", "s"]
    assert lines[2].split() == ["train-cpu", "–", "–", "–", "–", "–", "–", "0.0", "s"]
    assert lines[3:] == [
        f"hallmark/serve:1 is {DIGEST}",
        "train-cpu: a [bold] cause",
        "  next: mend it",
        "train-cpu: there: another",
    ]


def test_the_summary_of_ci_gets_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    show_cells([STAMPED, FAILED])
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert len(lines) == 4 and set(lines[1]) <= set("|- ")
    assert lines[2].startswith("| serve-cpu | built in 45 s | – | 3 of 3 passed | accepted | ")


def test_a_row_is_never_written_again() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        STAMPED.tag = "hallmark/serve:2"  # type: ignore[misc]


def test_verdicts_are_told_with_their_whole_digest_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    rejected = CellVerdict("serve-cpu", DIGEST, Verdict.REJECTED, ("load: failed: [red] no kernel", "serve: skipped"))
    retired = Entry(
        "train-cpu", "", "", Verdict.ACCEPTED, ("old",), "", "", "2026-11-29T05:00:00Z", 0, 0, "0.1.0", service=RETIRED
    )
    rows = [rejected, CellVerdict("train-cpu", "", Verdict.INCONCLUSIVE, ("not built yet",))]
    show_verdicts(rows, {"train-cpu": retired})
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["serve-cpu", "rejected", DIGEST],
        ["train-cpu", "inconclusive,", "retired", "–"],
        ["serve-cpu:", "load:", "failed:", "[red]", "no", "kernel"],
        ["serve-cpu:", "serve:", "skipped"],
        ["train-cpu:", "retired", "on", "2026-11-29T05:00:00Z:", "old"],
        ["train-cpu:", "not", "built", "yet"],
    ]


def test_images_built_twice_are_identical_or_tell_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = tuple(f"file{number}: content" for number in range(42))
    show_reproductions([Reproduction("base", "1", "1", ()), Reproduction("serve-cpu", "1", "2", lines)])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split() for line in printed[1:3]] == [
        ["base", "identical", "1", "1"],
        ["serve-cpu", "DIFFERENT", "1", "2"],
    ]
    assert printed[3] == "serve-cpu: file0: content" and printed[-1] == "serve-cpu: … and 2 more"
    assert len(printed) == 3 + 40 + 1
