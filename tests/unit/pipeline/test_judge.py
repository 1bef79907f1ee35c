"""The verdict from the evidence on the disk. That a run says the same is asserted by `Lab.run`, for every run."""

from __future__ import annotations

import json

import pytest

from scripts.errors import ExitCode
from scripts.model import Outcome, Verdict
from scripts.pipeline import CellVerdict, Stage, read_verdicts
from scripts.pipeline.judge import required_checks
from scripts.plan import Selection, make_plan
from tests.unit.builders import edit
from tests.unit.pipeline.lab import Lab, crashing

CPU, GPU, PRO = "serve-cpu", "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"
IMAGE_TOML = "images/serve/image.toml"
ACCEPT_MISSING = 'accept = "missing"\nreason = "not called"'


def test_a_verdict_follows_what_was_done(lab: Lab) -> None:
    assert lab.verdict(CPU) == CellVerdict(CPU, "", Verdict.INCONCLUSIVE, ("not built yet",))
    digest = lab.run(CPU, last=Stage.BUILD)[CPU].digest
    assert lab.verdict(CPU) == CellVerdict(CPU, digest, Verdict.INCONCLUSIVE, ("not smoke-tested yet",))
    lab.run(CPU)
    row = lab.verdict(CPU)
    assert (row.digest, row.verdict, row.reasons) == (digest, Verdict.ACCEPTED, ())
    edit(lab.root / "images/serve/smoke.py", "import probe", "import probe  # stricter")
    assert lab.verdict(CPU).reasons == ("not smoke-tested yet",)


def test_for_a_gpu_the_audit_is_needed_too(lab: Lab) -> None:
    assert lab.verdict(GPU).reasons == ("not built yet",)
    digest = lab.run(GPU)[GPU].digest
    assert (lab.verdict(GPU).verdict, lab.verdict(GPU).reasons) == (Verdict.ACCEPTED, ())
    (lab.folder(GPU) / "audit.json").unlink()
    assert lab.verdict(GPU) == CellVerdict(GPU, digest, Verdict.INCONCLUSIVE, ("not audited yet",))


def test_one_gpu_says_nothing_of_another(lab: Lab) -> None:
    lab.run(GPU)
    assert lab.verdict(PRO).reasons == ("not smoke-tested yet",)


def test_rejected_wheels_are_a_verdict_though_nothing_was_built(lab: Lab) -> None:
    lab.write_locks("90")
    row = lab.run(GPU)[GPU]
    assert (row.verdict, row.exit_code, row.digest) == (Verdict.REJECTED, ExitCode.REJECTED, "")
    found = lab.verdict(GPU)
    assert found.verdict is Verdict.REJECTED and "lib/x.so" in found.reasons[0]
    assert row.problems[0].cause == found.reasons[0]
    assert row.problems[0].next_step == f"read {lab.folder(GPU) / 'wheels.json'}"
    assert lab.verdict(PRO).verdict is Verdict.REJECTED, "the same wheels cannot run there either"
    assert "not built yet" in lab.verdict(CPU).reasons


def test_a_verdict_is_by_todays_rules(lab: Lab) -> None:
    lab.run(GPU)
    edit(lab.root / IMAGE_TOML, 'accept = "native"', ACCEPT_MISSING)
    assert lab.verdict(GPU).reasons == ("not audited yet",)


def test_an_audit_that_failed_is_a_rejection_whatever_was_smoked(lab: Lab) -> None:
    lab.run(GPU)
    path = lab.folder(GPU) / "audit.json"
    problems = [{"place": "x", "cause": "y", "next_step": ""}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"passed": False, "problems": problems}))
    row = lab.verdict(GPU)
    assert (row.verdict, row.reasons) == (Verdict.REJECTED, ("audit: 1 native; x: y",))


def test_a_smoke_script_cannot_speak_for_the_audit(lab: Lab) -> None:
    lab.run(GPU)
    path = lab.folder(GPU) / GPU / "smoke/default.json"
    evidence = json.loads(path.read_text())
    claimed = {"check": "audit", "outcome": Outcome.PASSED, "detail": "", "measured": {}}
    path.write_text(json.dumps(evidence | {"results": [claimed, *evidence["results"]]}))
    (lab.folder(GPU) / "audit.json").unlink()
    assert lab.verdict(GPU).verdict is Verdict.INCONCLUSIVE


def test_the_audit_is_required_by_name_where_there_is_a_gpu(lab: Lab) -> None:
    [gpu], [cpu] = lab.jobs(GPU), lab.jobs(CPU)
    checks = ("default/load", "default/serve", "default/container")
    assert required_checks(gpu.cell, gpu.scenarios) == ("audit", *checks, "default/gpu")
    assert required_checks(cpu.cell, cpu.scenarios) == checks


@pytest.mark.parametrize("cell", [CPU, GPU])
def test_a_check_that_the_image_must_pass_is_missed(cell: str, lab: Lab) -> None:
    lab.docker.smokes[cell] = lambda container: None
    row = lab.run(cell)[cell]
    assert row.verdict is Verdict.REJECTED
    assert [problem.cause for problem in row.problems] == ["default/load: no result", "default/serve: no result"]


def test_a_verdict_is_written_beside_its_evidence_for_people(lab: Lab) -> None:
    lab.docker.smokes[CPU] = crashing
    digest = lab.run(CPU)[CPU].digest
    folder = lab.folder(CPU) / CPU
    written = json.loads((folder / "verdict.json").read_text())
    assert (written["cell"], written["digest"], written["verdict"]) == (CPU, digest, "rejected")
    assert written["reasons"] == ["default/container: exit code 139: segmentation fault"]
    assert written["scenarios"] == {"default": json.loads((folder / "smoke/default.json").read_text())["smoke_id"]}
    (folder / "verdict.json").write_text("{}")
    assert lab.verdict(CPU).verdict is Verdict.REJECTED, "and read by nobody"


def test_a_cell_without_a_recipe_says_so_in_its_place(lab: Lab) -> None:
    project = lab.project
    plan = make_plan(project.matrix, Selection(["serve-cu128-5090", CPU]))
    rows = read_verdicts(lab.workspace, project.matrix, plan, project.build_options())
    assert [row.cell for row in rows] == [planned.cell.id for planned in plan]
    [gap] = [row for row in rows if row.cell != CPU]
    assert gap.verdict is Verdict.INCONCLUSIVE and gap.reasons != ("not built yet",)
