"""Broken images, in real containers: each is rejected for its own reason and gets no tag. A good one gets both."""

from __future__ import annotations

import pytest

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, tags_of
from scripts.errors import ExitCode
from scripts.pipeline import CellReport, Options, Stage, make_jobs, open_bench, run_cells
from scripts.plan import Selection, make_plan
from scripts.project import Project
from tests.integration.conftest import run_verb


def publish(project: Project, cell: str) -> CellReport:
    plan = make_plan(project.matrix, Selection([cell]))
    jobs = make_jobs(project.matrix, plan, project.build_options(), Stage.PUBLISH, Options())
    [report] = run_cells(open_bench(project), jobs)
    return report


def test_a_good_image_is_accepted_and_tagged(sandbox: Project, engine: Engine) -> None:
    report = publish(sandbox, "good-cpu")
    assert (report.verdict, report.exit_code) == ("accepted", ExitCode.ACCEPTED)
    assert digest_of_tag(engine, "hallmark/good:1.0-cpu") == report.digest
    assert digest_of_tag(engine, "hallmark/good:cpu") == report.digest
    assert len(tags_of(engine, report.digest)) == 3, "the third is its own for good"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("silent", "import: no result"),
        ("hang", "did not end within 5 s"),
        ("crash", "segmentation fault"),
        ("out-of-memory", "killed for memory"),
        ("dies-at-request", "the server has ended with exit code 1"),
    ],
)
def test_a_broken_image_is_rejected_and_gets_no_tag(sandbox: Project, engine: Engine, image: str, reason: str) -> None:
    report = publish(sandbox, f"{image}-cpu")
    assert (report.verdict, report.exit_code) == ("rejected", ExitCode.REJECTED)
    assert reason in " ".join(problem.cause for problem in report.problems)
    assert tags_of(engine, report.digest) == []
    assert digest_of_tag(engine, f"hallmark/{image}:1.0-cpu") == ""
    assert engine.client.containers.list(all=True) == []


def test_the_dying_server_was_healthy_first(sandbox: Project) -> None:
    """It would have passed a health check: that it is rejected is the work of the real request."""
    [planned] = make_plan(sandbox.matrix, Selection(["dies-at-request-cpu"]))
    verdicts = run_verb(sandbox.matrix.root, "verdict", planned.cell.id)
    assert verdicts.returncode == ExitCode.REJECTED, verdicts.stderr
    assert "health:" not in verdicts.stdout
    assert "completions: " in verdicts.stdout


def test_an_accepted_image_that_fails_later_loses_its_tags(sandbox: Project, engine: Engine) -> None:
    """Editing smoke.py verifies anew and does not rebuild; what no longer passes is no longer stamped."""
    before = publish(sandbox, "good-cpu")
    script = sandbox.matrix.images["good"].folder / "smoke.py"
    text = script.read_text()
    try:
        script.write_text(text + "    raise SystemExit('changed its mind')\n")
        after = publish(sandbox, "good-cpu")
    finally:
        script.write_text(text)
    assert (after.build, after.digest, after.verdict) == ("unchanged", before.digest, "rejected")
    assert tags_of(engine, before.digest) == []
    assert publish(sandbox, "good-cpu").verdict == "accepted"
