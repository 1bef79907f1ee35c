"""The stages in order, for a target that any machine is. The builder and the container do as a test says."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from scripts.build.build import Candidate
from scripts.build.steps import Step
from scripts.errors import BuildFailed, ConfigError, ExitCode, Undecided
from scripts.fetch import Cache
from scripts.files import write_json
from scripts.matrix import load_matrix
from scripts.model import Verdict
from scripts.oci.layout import Layout
from scripts.pipeline import CellVerdict, Stage, chain, run
from scripts.pipeline import cell as cell_module
from scripts.site import Site
from scripts.workspace import Workspace
from tests.unit.builders import edit, write_locks
from tests.unit.pipeline.lab import FAILED, UNDECIDED, Lab
from tests.unit.registry.fake_registry import make_layout

SERVE_TAG = "hallmark/serve:1.2.0-cpu"


# --- the way it goes when nothing fails


def test_accepted_cells_are_built_tested_and_tagged(lab: Lab) -> None:
    reports = lab.run()
    assert lab.ran == ["build base", "build serve-cpu", "smoke serve-cpu", "build train-cpu", "smoke train-cpu"]
    serve = reports["serve-cpu"]
    assert (serve.build, serve.smoke, serve.verdict) == ("built in 1 s", "3 of 3 passed", Verdict.ACCEPTED)
    assert (serve.exit_code, serve.problems, serve.tag) == (ExitCode.ACCEPTED, [], SERVE_TAG)
    assert lab.docker.tags[serve.digest] == {SERVE_TAG, f"{SERVE_TAG}-{lab.step('serve-cpu').build_id[:12]}"}
    assert "hallmark/base" not in str(lab.tags), "what others stand on is never tagged"


@pytest.mark.parametrize(("last", "ran"), [(Stage.BUILD, []), (Stage.SMOKE, ["smoke serve-cpu"])])
def test_a_run_goes_as_far_as_it_was_asked_to(last: Stage, ran: list[str], lab: Lab) -> None:
    report = lab.run("serve-cpu", last=last)["serve-cpu"]
    assert lab.ran == ["build base", "build serve-cpu", *ran]
    assert report.exit_code is ExitCode.ACCEPTED
    assert lab.tags == set() and report.tag == ""


def test_a_run_with_nothing_to_do_does_nothing(lab: Lab) -> None:
    first = lab.run()
    second = lab.run()
    assert lab.ran == []
    assert second["serve-cpu"].build == "unchanged"
    assert second["serve-cpu"].smoke == "unchanged: 3 of 3 passed"
    assert [report.tag for report in second.values()] == [report.tag for report in first.values()]
    assert second["serve-cpu"].exit_code is ExitCode.ACCEPTED


def test_a_run_leaves_no_work_behind(lab: Lab) -> None:
    lab.run()
    assert not lab.project.workspace.work.exists()


def test_cells_that_nobody_wrote_are_refused_before_anything_runs(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="not built yet"):
        lab.run("serve-*")
    assert lab.ran == [] and not lab.project.workspace.folder.exists()


# --- rejected


def test_a_rejected_cell_gets_no_tag_and_does_not_stop_the_others(lab: Lab) -> None:
    lab.results["serve-cpu"] = FAILED
    reports = lab.run()
    assert reports["serve-cpu"].verdict is Verdict.REJECTED
    assert reports["serve-cpu"].exit_code is ExitCode.REJECTED
    assert "exit code 139" in str(reports["serve-cpu"].problems[0])
    assert "smoke.log" in reports["serve-cpu"].problems[0].next_step
    assert reports["serve-cpu"].tag == ""
    assert reports["train-cpu"].exit_code is ExitCode.ACCEPTED
    assert {tag.split(":")[0] for tag in lab.tags} == {"hallmark/train"}


def test_a_cell_that_is_no_longer_accepted_loses_the_tags_it_had(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    digest = lab.run("serve-cpu")["serve-cpu"].digest
    edit(lab.root / "images/serve/smoke.py", "import probe", "import probe  # stricter")
    lab.results["serve-cpu"] = FAILED
    report = lab.run("serve-cpu")["serve-cpu"]
    assert lab.ran == ["smoke serve-cpu"], "another question about the same image"
    assert report.digest == digest and lab.tags == set()
    assert "these tags were withdrawn" in capsys.readouterr().err


def test_a_rejection_is_remembered_and_not_asked_again(lab: Lab) -> None:
    lab.results["serve-cpu"] = FAILED
    lab.run("serve-cpu")
    lab.results.clear()
    report = lab.run("serve-cpu")["serve-cpu"]
    assert lab.ran == [] and report.exit_code is ExitCode.REJECTED and lab.tags == set()


def test_another_build_that_is_rejected_leaves_the_tag_on_the_last_one_accepted(lab: Lab) -> None:
    digest = lab.run("serve-cpu")["serve-cpu"].digest
    edit(lab.root / "images/serve/Dockerfile", "FROM parent", "FROM parent\nRUN true")
    lab.results["serve-cpu"] = FAILED
    assert lab.run("serve-cpu")["serve-cpu"].digest != digest
    assert SERVE_TAG in lab.docker.tags[digest]


def test_another_build_that_is_accepted_takes_the_moving_tag_over(lab: Lab) -> None:
    old = lab.run("serve-cpu")["serve-cpu"].digest
    edit(lab.root / "images/serve/Dockerfile", "FROM parent", "FROM parent\nRUN true")
    new = lab.run("serve-cpu")["serve-cpu"].digest
    assert SERVE_TAG in lab.docker.tags[new]
    assert len(lab.docker.tags[old]) == 1, "the tag that names the old build stays with it"


def test_a_rejected_image_keeps_the_tags_that_its_owner_gave_it(lab: Lab) -> None:
    digest = lab.run("serve-cpu")["serve-cpu"].digest
    lab.docker.tags[digest].add("mine/keep:1")
    edit(lab.root / "images/serve/smoke.py", "import probe", "import probe  # stricter")
    lab.results["serve-cpu"] = FAILED
    lab.run("serve-cpu")
    assert lab.tags == {"mine/keep:1"}


# --- undecided


def test_what_could_not_be_decided_is_asked_again(lab: Lab) -> None:
    lab.results["serve-cpu"] = UNDECIDED
    report = lab.run("serve-cpu")["serve-cpu"]
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE)
    assert lab.tags == set()
    lab.results.clear()
    report = lab.run("serve-cpu")["serve-cpu"]
    assert lab.ran == ["smoke serve-cpu"] and report.exit_code is ExitCode.ACCEPTED


def test_damaged_evidence_is_asked_for_again(lab: Lab) -> None:
    lab.run("serve-cpu")
    (lab.project.workspace.run(lab.step("serve-cpu").build_id) / "smoke.json").write_text("{")
    lab.run("serve-cpu")
    assert lab.ran == ["smoke serve-cpu"]


def test_evidence_of_another_digest_tags_nothing_but_what_was_tested(lab: Lab) -> None:
    digest = lab.run("serve-cpu", last=Stage.SMOKE)["serve-cpu"].digest
    other = "sha256:" + "9" * 64
    lab.docker.tags[other] = set()
    path = lab.project.workspace.run(lab.step("serve-cpu").build_id) / "smoke.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": other}))
    lab.run("serve-cpu")
    assert lab.ran == ["smoke serve-cpu"]
    assert lab.docker.tags[other] == set() and SERVE_TAG in lab.docker.tags[digest]


@pytest.mark.parametrize(
    ("error", "build", "code"),
    [
        (BuildFailed("make failed"), "failed", ExitCode.BUILD_FAILED),
        (Undecided("no disk"), "–", ExitCode.INCONCLUSIVE),
        (ConfigError("bad"), "–", ExitCode.USAGE),
    ],
)
def test_a_cell_that_cannot_be_built_does_not_stop_the_others(
    error: Exception, build: str, code: ExitCode, lab: Lab
) -> None:
    lab.builds["serve-cpu"] = error
    reports = lab.run()
    serve = reports["serve-cpu"]
    assert (serve.build, serve.verdict, serve.exit_code, serve.tag) == (build, "undecided", code, "")
    assert str(serve.problems[0]) == str(error)
    assert "smoke serve-cpu" not in lab.ran
    assert reports["train-cpu"].exit_code is ExitCode.ACCEPTED


def test_a_parent_that_cannot_be_built_fails_each_cell_on_it(lab: Lab) -> None:
    lab.builds["base"] = BuildFailed("no dpkg")
    assert {report.exit_code for report in lab.run().values()} == {ExitCode.BUILD_FAILED}
    assert lab.ran == ["build base", "build base"]


def test_an_interruption_ends_the_run_and_the_next_one_goes_on(lab: Lab) -> None:
    def interrupt(cell: str) -> None:
        if cell == "train-cpu":
            raise KeyboardInterrupt

    lab.on_smoke = interrupt
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    lab.on_smoke = lambda cell: None
    lab.run()
    assert lab.ran == ["smoke train-cpu"], "what was finished is kept"


def test_what_cannot_be_tidied_up_does_not_take_the_reports_away(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise Undecided("the engine has gone")

    monkeypatch.setattr(run, "trim", fail)
    assert lab.run("serve-cpu")["serve-cpu"].exit_code is ExitCode.ACCEPTED
    assert "not everything was tidied up: the engine has gone" in capsys.readouterr().err


# --- what is there and what is not


def test_an_image_that_the_engine_lost_is_loaded_again_from_its_layout(lab: Lab) -> None:
    digest = lab.run("serve-cpu")["serve-cpu"].digest
    lab.docker.tags.clear()
    lab.run("serve-cpu")
    assert lab.ran == []
    assert SERVE_TAG in lab.docker.tags[digest]


def test_a_layout_that_was_cleaned_is_not_missed_while_the_engine_has_the_image(lab: Lab) -> None:
    lab.run("serve-cpu")
    shutil.rmtree(lab.project.workspace.layouts)
    assert lab.run("serve-cpu")["serve-cpu"].build == "unchanged"
    assert lab.ran == []


def test_a_build_of_which_nothing_is_left_is_built_again(lab: Lab) -> None:
    lab.run("serve-cpu")
    shutil.rmtree(lab.project.workspace.layouts)
    lab.docker.tags.clear()
    report = lab.run("serve-cpu")["serve-cpu"]
    assert lab.ran == ["build base", "build serve-cpu"], "the same digest came out, so its evidence still counts"
    assert report.exit_code is ExitCode.ACCEPTED and report.tag == SERVE_TAG


def test_a_layout_whose_index_was_damaged_is_built_again(lab: Lab) -> None:
    lab.run("serve-cpu")
    (lab.project.workspace.layout(lab.step("serve-cpu").build_id) / "index.json").write_text("{")
    lab.docker.tags.clear()
    assert lab.run("serve-cpu")["serve-cpu"].exit_code is ExitCode.ACCEPTED
    assert lab.ran == ["build serve-cpu"]


def test_a_layout_that_lacks_a_blob_is_built_again(lab: Lab) -> None:
    digest = lab.run("serve-cpu")["serve-cpu"].digest
    layout = Layout.open(lab.project.workspace.layout(lab.step("serve-cpu").build_id))
    layout.blob_path(layout.layers[0].digest).unlink()
    lab.docker.tags.clear()
    report = lab.run("serve-cpu")["serve-cpu"]
    assert lab.ran == ["build serve-cpu"]
    assert (report.digest, report.exit_code) == (digest, ExitCode.ACCEPTED)


def test_a_change_of_the_parent_builds_everything_on_it_again(lab: Lab) -> None:
    lab.run()
    edit(lab.root / "images/base/Dockerfile", "FROM scratch", "FROM scratch\nENV A=1")
    lab.run()
    assert [line for line in lab.ran if line.startswith("build")] == [
        "build base",
        "build serve-cpu",
        "build train-cpu",
    ]


def test_a_stale_lock_stops_before_anything_runs(lab: Lab) -> None:
    edit(lab.root / "images/serve/image.toml", '"torch"]', '"torch", "numpy"]')
    with pytest.raises(ConfigError, match="older than the matrix"):
        lab.run()
    assert lab.ran == []
    write_locks(lab.root, load_matrix(lab.root))
    assert lab.run()["serve-cpu"].exit_code is ExitCode.ACCEPTED


# --- a registry


def test_only_what_was_accepted_goes_to_a_registry(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str, str]] = []

    def stamp_registry(name: str, layout: Layout, tags: Any, evidence: Any, cell: str, locks: Path) -> str:
        assert layout.digest == evidence.digest
        sent.append((name, cell, layout.digest))
        return f"{name}/{tags.image}:{tags.moving}"

    monkeypatch.setattr(cell_module, "stamp_registry", stamp_registry)
    lab.site = Site("auto", "registry.example.com/team", (), (), lab.root / "cache")
    lab.results["serve-cpu"] = FAILED
    reports = lab.run()
    assert sent == [("registry.example.com/team", "train-cpu", reports["train-cpu"].digest)]
    assert reports["train-cpu"].tag == "registry.example.com/team/train:3.0-cpu"


def test_a_rebuilt_image_of_another_digest_is_not_pushed_before_it_was_tested(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = lab.run("serve-cpu")["serve-cpu"].digest
    shutil.rmtree(lab.project.workspace.layouts)
    build = lab._build
    sent: list[tuple[str, str]] = []

    def build_otherwise(step: Step, engine: Any, cache: Cache, workspace: Workspace) -> Layout:
        """As an engine that compresses in another way would."""
        folder = build(step, engine, cache, workspace).folder
        shutil.rmtree(folder)
        layout = make_layout(folder, f"other {step.name}")
        (folder / "oci-layout").write_text("{}")
        candidate = Candidate(step.name, step.build_id, layout.digest, layout.size, 1.0)
        write_json(workspace.run(step.build_id) / "build.json", asdict(candidate))
        return layout

    def stamp_registry(name: str, layout: Layout, tags: Any, evidence: Any, cell: str, locks: Path) -> str:
        sent.append((layout.digest, evidence.digest))
        return "tag"

    monkeypatch.setattr(chain, "build_step", build_otherwise)
    monkeypatch.setattr(cell_module, "stamp_registry", stamp_registry)
    lab.site = Site("auto", "registry.example.com/team", (), (), lab.root / "cache")
    report = lab.run("serve-cpu")["serve-cpu"]
    assert sent == []
    assert (report.verdict, report.exit_code) == (Verdict.ACCEPTED, ExitCode.INCONCLUSIVE)
    assert f"but {tested} is what was tested" in str(report.problems[0])
    report = lab.run("serve-cpu")["serve-cpu"]
    assert lab.ran == ["smoke serve-cpu"] and report.exit_code is ExitCode.ACCEPTED
    assert sent == [(report.digest, report.digest)] and report.digest != tested


def test_a_registry_that_cannot_be_meant_is_noticed_before_the_work(lab: Lab) -> None:
    lab.site = Site("auto", "no-host", (), (), lab.root / "cache")
    with pytest.raises(ConfigError):
        lab.run("serve-cpu")
    assert lab.ran == []
    assert lab.run("serve-cpu", last=Stage.SMOKE)["serve-cpu"].exit_code is ExitCode.ACCEPTED


# --- evidence on disk


def test_verdicts_are_read_without_running_anything(lab: Lab) -> None:
    assert lab.verdict("serve-cpu") == CellVerdict("serve-cpu", "", Verdict.INCONCLUSIVE, ("not built yet",))
    digest = lab.run("serve-cpu", last=Stage.BUILD)["serve-cpu"].digest
    assert lab.verdict("serve-cpu").reasons == ("not smoke-tested yet",)
    lab.run("serve-cpu")
    assert lab.verdict("serve-cpu") == CellVerdict("serve-cpu", digest, Verdict.ACCEPTED, ())
    edit(lab.root / "images/serve/smoke.py", "import probe", "import probe  # stricter")
    assert lab.verdict("serve-cpu").verdict is Verdict.INCONCLUSIVE


def test_a_verdict_is_written_beside_its_evidence(lab: Lab) -> None:
    lab.results["serve-cpu"] = FAILED
    digest = lab.run("serve-cpu")["serve-cpu"].digest
    run = lab.project.workspace.run(lab.step("serve-cpu").build_id)
    written = json.loads((run / "verdict.json").read_text())
    assert (written["cell"], written["digest"], written["verdict"]) == ("serve-cpu", digest, "rejected")
    assert written["reasons"] == ["container: exit code 139"]
    assert written["smoke_id"] == json.loads((run / "smoke.json").read_text())["smoke_id"]
