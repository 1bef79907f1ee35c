"""What runs append to the feed: a line for each verdict that is news, whatever it is."""

from __future__ import annotations

import pytest

from scripts import __version__
from scripts.errors import ExitCode
from scripts.feed import Entry, read_feed
from scripts.model import Verdict
from scripts.pipeline import Stage
from tests.unit.builders import edit
from tests.unit.pipeline.lab import RTX_5090, Lab, crashing

CPU, GPU = "serve-cpu", "serve-cu128-5090-wheel"


def entries(lab: Lab) -> list[Entry]:
    found, unread = read_feed(lab.workspace.feed)
    assert unread == 0
    return found


@pytest.mark.parametrize("cell", [CPU, GPU])
def test_a_run_appends_its_verdict_once(cell: str, lab: Lab) -> None:
    row = lab.run(cell)[cell]
    [entry] = entries(lab)
    assert (entry.cell, entry.digest, entry.verdict, entry.reasons) == (cell, row.digest, Verdict.ACCEPTED, ())
    assert (entry.build, entry.tool) == (lab.folder(cell).name, __version__)
    where, checks = ((RTX_5090.name, RTX_5090.driver), 5) if cell == GPU else (("", ""), 3)
    assert (entry.gpu, entry.driver) == where and (entry.passed, entry.total) == (checks, checks)
    lab.run(cell)
    assert entries(lab) == [entry], "the second run has nothing new to say"


def test_a_red_run_is_appended_too_and_so_is_its_mending(lab: Lab) -> None:
    lab.docker.smokes[CPU] = crashing
    lab.run(CPU)
    [red] = entries(lab)
    assert red.verdict is Verdict.REJECTED and red.passed < red.total
    assert red.reasons == ("default/container: exit code 139: segmentation fault",)
    del lab.docker.smokes[CPU]
    edit(lab.root / "images/serve/smoke.py", "import probe", "import probe  # stricter")
    lab.run(CPU)
    first, second = entries(lab)
    assert first == red and (second.verdict, second.digest) == (Verdict.ACCEPTED, red.digest)


def test_wheels_that_are_rejected_are_a_verdict_without_a_digest(lab: Lab) -> None:
    lab.write_locks("90")
    lab.run(GPU)
    [entry] = entries(lab)
    assert (entry.verdict, entry.digest, entry.passed) == (Verdict.REJECTED, "", 0)
    assert entry.finished.endswith("Z") and "lib/x.so" in entry.reasons[0]


def test_a_run_without_a_verdict_appends_nothing(lab: Lab) -> None:
    lab.run(CPU, last=Stage.BUILD)
    assert entries(lab) == []


def test_a_tag_does_not_outlive_its_verdict_where_the_feed_cannot_be_written(lab: Lab) -> None:
    lab.run(CPU)
    assert any(lab.docker.tags.values())
    lab.workspace.feed.unlink()
    lab.workspace.feed.mkdir()
    lab.docker.smokes[CPU] = crashing
    edit(lab.root / "images/serve/smoke.py", "import probe", "import probe  # stricter")
    row = lab.run(CPU)[CPU]
    assert row.exit_code is ExitCode.INCONCLUSIVE and "the feed cannot be" in row.problems[-1].cause
    assert not any(lab.docker.tags.values())
