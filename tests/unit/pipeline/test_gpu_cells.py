"""Cells for a GPU: their code is judged before hours are spent, and nothing is decided without that very GPU."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.audit.library import Library
from scripts.build.steps import Step
from scripts.errors import BuildFailed, ExitCode
from scripts.fetch import Cache
from scripts.model import Outcome, Verdict
from scripts.oci.layout import Layout
from scripts.pipeline import CellVerdict, Options, Stage, chain
from scripts.pipeline import cell as cell_module
from scripts.site import Site
from scripts.workspace import Workspace
from tests.unit.audit.made import library
from tests.unit.builders import edit
from tests.unit.pipeline.lab import FAILED, RTX_5090, UNDECIDED, Lab

CELL = "serve-cu128-5090-wheel"
TAG = "hallmark/serve:1.2.0-cu128-5090-wheel"
IMAGE_TOML = "images/serve/image.toml"
EVERYTHING = ["audit wheels", "build base", f"slim {CELL}", f"build {CELL}", f"audit {CELL}", f"smoke {CELL}"]
UNFIT = [library("lib/x.so", "90", "90")]
ACCEPT_MISSING = 'accept = "missing"\nreason = "not called"'


@pytest.fixture(autouse=True)
def _for_gpu(lab: Lab) -> None:
    lab.write_for_gpu()


# --- the way it goes when nothing fails


def test_a_cell_for_a_gpu_is_audited_twice_and_tested_on_it(lab: Lab) -> None:
    report = lab.run(CELL)[CELL]
    assert lab.ran == EVERYTHING
    assert (report.build, report.audit, report.smoke) == ("built in 1 s", "1 native", "3 of 3 passed")
    assert (report.verdict, report.exit_code, report.problems) == (Verdict.ACCEPTED, ExitCode.ACCEPTED, [])
    assert report.tag == TAG in lab.docker.tags[report.digest]
    assert lab.devices == {CELL: [["GPU-1"]]}


def test_a_cell_for_no_gpu_is_not_audited_and_is_given_none(lab: Lab) -> None:
    report = lab.run("train-cpu")["train-cpu"]
    assert not [line for line in lab.ran if "audit" in line]
    assert lab.devices == {"train-cpu": []} and report.audit == "–"


def test_the_evidence_says_on_which_gpu(lab: Lab) -> None:
    lab.run(CELL)
    host = json.loads((lab.folder(CELL) / "smoke.json").read_text())["host"]
    assert (host["gpu"], host["driver"]) == (RTX_5090.name, RTX_5090.driver)
    audit = json.loads((lab.folder(CELL) / "audit.json").read_text())
    assert audit["passed"] is True and audit["subject"] == CELL


def test_a_build_needs_no_gpu_and_includes_the_audit(lab: Lab) -> None:
    lab.gpus = []
    report = lab.run(CELL, last=Stage.BUILD)[CELL]
    assert lab.ran == EVERYTHING[:-1]
    assert (report.exit_code, report.audit, lab.docker.tags) == (ExitCode.ACCEPTED, "1 native", {})


def test_a_run_with_nothing_to_do_needs_no_gpu_either(lab: Lab) -> None:
    first = lab.run(CELL)[CELL]
    lab.gpus = []
    second = lab.run(CELL)[CELL]
    assert lab.ran == []
    assert (second.audit, second.smoke) == ("unchanged: 1 native", "unchanged: 3 of 3 passed")
    assert (second.exit_code, second.tag, second.digest) == (ExitCode.ACCEPTED, first.tag, first.digest)


def test_the_audit_is_among_what_is_attached(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    attached: list[list[str]] = []

    def stamp_registry(name: str, layout: Layout, tags: Any, evidence: Any, cell: str, locks: Path) -> str:
        attached.append([result.check for result in evidence.results])
        return "tag"

    monkeypatch.setattr(cell_module, "stamp_registry", stamp_registry)
    lab.site = Site("auto", "registry.example.com/team", (), (), lab.root / "cache")
    lab.run(CELL)
    lab.run(CELL)
    assert attached == [["audit", "load", "serve", "container"]] * 2, "remembered evidence, too, is complete"


# --- rejected by what the code is


def test_wheels_that_cannot_run_there_are_rejected_before_anything_is_built(lab: Lab) -> None:
    lab.wheels = UNFIT
    report = lab.run(CELL)[CELL]
    assert lab.ran == ["audit wheels"]
    assert (report.verdict, report.exit_code) == (Verdict.REJECTED, ExitCode.REJECTED)
    assert report.audit == "wheels rejected: 1 problems"
    assert report.problems[0].place == "lib/x.so" and "sm_120" in report.problems[0].next_step
    assert lab.docker.tags == {} and report.tag == ""


@pytest.mark.parametrize(
    "wheels", [[], [Library("lib/x.so", (), "cut short")], [library("lib/x.so", "120"), library("other/y.so", "120")]]
)
def test_wheels_without_code_or_with_code_that_nobody_judges_are_rejected(wheels: list[Library], lab: Lab) -> None:
    lab.wheels = wheels
    assert lab.run(CELL)[CELL].exit_code is ExitCode.REJECTED
    assert lab.ran == ["audit wheels"]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        pytest.param([library("opt/lib/x.so", "120", "90")], "partly missing on 12.0", id="not good enough"),
        pytest.param([*[library("opt/lib/x.so", "120", "120")], library("y.so", "120")], "no rule names it", id="new"),
        pytest.param([library("opt/lib/x.so", "120")], "was 2 native", id="less than was in its wheel"),
        pytest.param([library("opt/lib/y.so", "120", "120")], "is not in the image", id="lost"),
        pytest.param([Library("opt/lib/x.so", (), "cut short")], "cannot be read: cut short", id="damaged"),
        pytest.param([], "no GPU code", id="nothing"),
    ],
)
def test_an_image_that_is_not_what_its_wheels_were_is_rejected_untested(
    image: list[Library], said: str, lab: Lab
) -> None:
    lab.image = image
    report = lab.run(CELL)[CELL]
    assert lab.ran == EVERYTHING[:-1], "what cannot run is not run"
    assert (report.verdict, report.exit_code, report.tag) == (Verdict.REJECTED, ExitCode.REJECTED, "")
    assert said in str(report.problems[0]) and "audit.json" in report.problems[0].next_step
    assert not any("no result" in str(problem) for problem in report.problems)
    written = json.loads((lab.folder(CELL) / "verdict.json").read_text())
    assert (written["verdict"], written["digest"]) == ("rejected", report.digest)
    assert lab.verdict(CELL).verdict is Verdict.REJECTED


def test_an_image_without_code_is_rejected_for_a_build_alone_too(lab: Lab) -> None:
    lab.image = []
    assert lab.run(CELL, last=Stage.BUILD)[CELL].exit_code is ExitCode.REJECTED


def test_a_rejection_is_remembered_and_not_asked_again(lab: Lab) -> None:
    lab.image = UNFIT
    lab.run(CELL)
    lab.image = []
    report = lab.run(CELL)[CELL]
    assert lab.ran == [] and report.exit_code is ExitCode.REJECTED
    assert report.audit.startswith("unchanged: ")


def test_a_smoke_test_that_fails_rejects_whatever_the_audit_said(lab: Lab) -> None:
    lab.results[CELL] = FAILED
    report = lab.run(CELL)[CELL]
    assert (report.audit, report.exit_code, lab.tags) == ("1 native", ExitCode.REJECTED, set())
    assert lab.verdict(CELL).reasons == ("container: exit code 139",)


# --- when an audit counts


def test_other_rules_audit_again_and_build_nothing(lab: Lab) -> None:
    lab.run(CELL)
    edit(lab.root / IMAGE_TOML, 'libraries = ["lib/*.so"]', 'libraries = ["lib/x.so"]')
    report = lab.run(CELL)[CELL]
    assert lab.ran == ["audit wheels", f"audit {CELL}"]
    assert (report.audit, report.exit_code, report.tag) == ("1 native", ExitCode.ACCEPTED, TAG)


def test_other_words_for_a_reason_do_not(lab: Lab) -> None:
    edit(lab.root / IMAGE_TOML, 'accept = "native"', ACCEPT_MISSING)
    lab.run(CELL)
    edit(lab.root / IMAGE_TOML, "not called", "never called")
    lab.run(CELL)
    assert lab.ran == []


def test_rules_that_no_longer_accept_the_image_take_its_tags_away(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    edit(lab.root / IMAGE_TOML, 'accept = "native"', ACCEPT_MISSING)
    lab.wheels, lab.image = UNFIT, [library("opt/lib/x.so", "90", "90")]
    digest = lab.run(CELL)[CELL].digest
    assert TAG in lab.docker.tags[digest]
    edit(lab.root / IMAGE_TOML, ACCEPT_MISSING, 'accept = "native"')
    report = lab.run(CELL)[CELL]
    assert report.exit_code is ExitCode.REJECTED and lab.tags == set()
    assert "these tags were withdrawn" in capsys.readouterr().err
    assert json.loads((lab.folder(CELL) / "verdict.json").read_text())["verdict"] == "rejected"


def test_rules_that_only_the_image_breaks_take_its_tags_away(lab: Lab) -> None:
    lab.run(CELL)
    assert TAG in lab.tags
    edit(lab.root / IMAGE_TOML, 'libraries = ["lib/*.so"]', 'libraries = ["lib/x.so"]')
    lab.image = [library("opt/lib/x.so", "120", "90")]
    assert lab.run(CELL)[CELL].exit_code is ExitCode.REJECTED
    assert lab.tags == set()


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_damaged_audit_is_asked_for_again(text: str, lab: Lab) -> None:
    lab.run(CELL)
    (lab.folder(CELL) / "audit.json").write_text(text)
    assert lab.run(CELL)[CELL].exit_code is ExitCode.ACCEPTED
    assert lab.ran == ["audit wheels", f"audit {CELL}"]


def test_an_image_that_was_rebuilt_otherwise_is_not_audited_under_the_first_ones_digest(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lab.run(CELL)[CELL].digest
    build = lab._build

    def build_otherwise(step: Step, engine: Any, cache: Cache, workspace: Workspace) -> Layout:
        if step.name == CELL:
            step = dataclasses.replace(step, name=f"{step.name} ")
        return build(step, engine, cache, workspace)

    monkeypatch.setattr(chain, "build_step", build_otherwise)
    shutil.rmtree(lab.project.workspace.layouts)
    edit(lab.root / IMAGE_TOML, 'libraries = ["lib/*.so"]', 'libraries = ["lib/x.so"]')
    report = lab.run(CELL)[CELL]
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert f"but {first} is what was built" in str(report.problems[0])
    report = lab.run(CELL)[CELL]
    assert report.exit_code is ExitCode.ACCEPTED and report.digest != first
    assert TAG in lab.docker.tags[report.digest]


# --- without the GPU


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ([], "this machine has no NVIDIA GPU"),
        ([dataclasses.replace(RTX_5090, name="NVIDIA H200", compute="9.0")], "this machine has NVIDIA H200 (9.0)"),
        ([dataclasses.replace(RTX_5090, name="NVIDIA RTX PRO 6000")], "this machine has NVIDIA RTX PRO 6000 (12.0)"),
        ([dataclasses.replace(RTX_5090, driver="565.57.01")], "the driver is 565.57.01"),
    ],
)
def test_without_the_target_nothing_is_decided_and_the_next_step_is_named(gpus: list[Any], said: str, lab: Lab) -> None:
    lab.gpus = gpus
    report = lab.run(CELL)[CELL]
    assert lab.ran == EVERYTHING[:-1]
    assert (report.audit, report.smoke, report.verdict) == ("1 native", "no GPU for it", "undecided")
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert lab.docker.tags == {}, "neither loaded nor tagged"
    [problem] = report.problems
    assert said in problem.cause
    step = f"on a machine with NVIDIA GeForce RTX 5090, at this commit: nox -s verify-5090 -- {CELL}"
    assert problem.next_step == f"{step} --digest {report.digest}"
    assert lab.verdict(CELL) == CellVerdict(CELL, report.digest, Verdict.INCONCLUSIVE, ("not smoke-tested yet",))


def test_what_was_undecided_goes_on_where_the_gpu_is(lab: Lab) -> None:
    lab.gpus = []
    digest = lab.run(CELL)[CELL].digest
    lab.gpus = [dataclasses.replace(RTX_5090, name="another"), RTX_5090]
    report = lab.run(CELL, options=Options(digest=digest))[CELL]
    assert lab.ran == [f"smoke {CELL}"]
    assert (report.exit_code, report.tag) == (ExitCode.ACCEPTED, TAG)


def test_an_engine_that_cannot_hand_the_gpu_out_is_undecided(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.docker, "info", lambda: {"Runtimes": {"runc": {}}})
    report = lab.run(CELL)[CELL]
    assert report.exit_code is ExitCode.INCONCLUSIVE and "NVIDIA Container Toolkit" in str(report.problems[0])
    assert lab.tags == set() and f"smoke {CELL}" not in lab.ran


def test_a_container_that_decided_nothing_is_run_again_on_the_gpu(lab: Lab) -> None:
    lab.results[CELL] = UNDECIDED
    assert lab.run(CELL)[CELL].exit_code is ExitCode.INCONCLUSIVE
    lab.gpus = []
    assert lab.run(CELL)[CELL].smoke == "no GPU for it"


# --- another digest than was asked for


def test_a_checkout_that_builds_something_else_decides_nothing(lab: Lab) -> None:
    other = "sha256:" + "9" * 64
    report = lab.run(CELL, options=Options(digest=other))[CELL]
    assert report.exit_code is ExitCode.INCONCLUSIVE and report.tag == ""
    assert f"this checkout builds {report.digest}, not {other}" in str(report.problems[0])
    assert "check out the commit" in report.problems[0].next_step
    assert lab.docker.tags == {} and not [line for line in lab.ran if line.startswith("smoke")]


def test_a_checkout_that_was_tested_before_tags_no_other_digest_either(lab: Lab) -> None:
    digest = lab.run(CELL, last=Stage.SMOKE)[CELL].digest
    assert lab.run(CELL, options=Options(digest="sha256:" + "9" * 64))[CELL].exit_code is ExitCode.INCONCLUSIVE
    assert lab.tags == set()
    assert lab.run(CELL, options=Options(digest=digest))[CELL].tag == TAG


# --- evidence on disk


def test_verdicts_need_the_audit_and_the_smoke_test(lab: Lab) -> None:
    assert lab.verdict(CELL) == CellVerdict(CELL, "", Verdict.INCONCLUSIVE, ("not built yet",))
    digest = lab.run(CELL)[CELL].digest
    assert lab.verdict(CELL) == CellVerdict(CELL, digest, Verdict.ACCEPTED, ())
    (lab.folder(CELL) / "audit.json").unlink()
    assert lab.verdict(CELL) == CellVerdict(CELL, digest, Verdict.INCONCLUSIVE, ("not audited yet",))


def test_a_verdict_is_by_todays_rules(lab: Lab) -> None:
    lab.run(CELL)
    edit(lab.root / IMAGE_TOML, 'accept = "native"', ACCEPT_MISSING)
    assert lab.verdict(CELL).reasons == ("not audited yet",)


def test_evidence_whose_audit_failed_is_a_rejection_whatever_was_smoked(lab: Lab) -> None:
    lab.run(CELL)
    path = lab.folder(CELL) / "audit.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps(report | {"passed": False, "problems": [{"place": "x", "cause": "y", "next_step": ""}]}))
    row = lab.verdict(CELL)
    assert (row.verdict, row.reasons) == (Verdict.REJECTED, ("audit: 1 native; x: y",))


def test_a_smoke_script_cannot_speak_for_the_audit(lab: Lab) -> None:
    lab.run(CELL)
    path = lab.folder(CELL) / "smoke.json"
    evidence = json.loads(path.read_text())
    claimed = {"check": "audit", "outcome": Outcome.PASSED, "detail": "", "measured": {}}
    path.write_text(json.dumps(evidence | {"results": [claimed, *evidence["results"]]}))
    (lab.folder(CELL) / "audit.json").unlink()
    assert lab.verdict(CELL).verdict is Verdict.INCONCLUSIVE


# --- several cells

BOTH = (CELL, "train-cu128-5090-wheel")


def begun(lab: Lab) -> set[str]:
    return {line.split()[-1] for line in lab.ran if line.startswith(("build", "audit", "smoke"))} - {"base"}


def test_after_a_rejection_nothing_more_is_begun_unless_it_is_to_keep_going(lab: Lab) -> None:
    lab.wheels = UNFIT
    reports = lab.run(*BOTH, options=Options(keep_going=False))
    assert lab.ran == ["audit wheels"]
    assert [report.exit_code for report in reports.values()] == [ExitCode.REJECTED, ExitCode.INCONCLUSIVE]
    skipped = reports[BOTH[1]]
    assert (skipped.verdict, skipped.digest) == ("–", "")
    assert "not begun, because another cell failed before" in str(skipped.problems[0])
    assert "--keep-going" in skipped.problems[0].next_step
    lab.run(*BOTH, options=Options(keep_going=True))
    assert lab.ran == ["audit wheels"] * 2


def test_after_a_failed_build_nothing_more_is_begun(lab: Lab) -> None:
    lab.builds[CELL] = BuildFailed("no rule")
    reports = lab.run(*BOTH, options=Options(keep_going=False))
    assert reports[CELL].exit_code is ExitCode.BUILD_FAILED and BOTH[1] not in begun(lab)
    assert reports[BOTH[1]].exit_code is ExitCode.INCONCLUSIVE


def test_what_could_not_be_decided_stops_nothing(lab: Lab) -> None:
    lab.gpus = []
    reports = lab.run(*BOTH, options=Options(keep_going=False))
    assert {report.smoke for report in reports.values()} == {"no GPU for it"}
    assert begun(lab) >= set(BOTH)


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_cells_side_by_side_build_what_they_share_once(jobs: int, lab: Lab) -> None:
    reports = lab.run(*BOTH, "*-cpu", options=Options(jobs=jobs))
    assert list(reports) == [*BOTH, "serve-cpu", "train-cpu"], "in the plan's order, whoever was first"
    assert {report.exit_code for report in reports.values()} == {ExitCode.ACCEPTED}
    assert lab.ran.count("build base") == 1
    assert len(lab.ran) == len(set(lab.ran) - {"audit wheels"}) + 2
    assert len(lab.tags) == 8


def test_side_by_side_nothing_more_is_begun_either(lab: Lab) -> None:
    lab.wheels = UNFIT
    reports = lab.run(*BOTH, "*-cpu", options=Options(jobs=2, keep_going=False))
    codes = [report.exit_code for report in reports.values()]
    assert ExitCode.REJECTED in codes and len(codes) == 4
    skipped = [report for report in reports.values() if report.verdict == "–"]
    assert all("not begun" in str(report.problems[0]) for report in skipped)


def test_an_interruption_ends_what_runs_beside_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(type(lab.engine), "end_children", lambda engine: ended.append(True))

    def interrupt(cell: str) -> None:
        raise KeyboardInterrupt

    lab.on_smoke = interrupt
    with pytest.raises(KeyboardInterrupt):
        lab.run(*BOTH, options=Options(jobs=2))
    assert ended == [True] and lab.tags == set()
