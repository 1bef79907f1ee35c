"""The stages in order. The builder, the engine, the registry and the GPUs are as a test says; the rest is real."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from scripts.errors import BuildFailed, ConfigError, ExitCode, Undecided
from scripts.model import Verdict
from scripts.pipeline import CellVerdict, Stage
from tests.unit.builders import edit
from tests.unit.fake_docker import FakeContainer
from tests.unit.pipeline.lab import Lab, crashing, unanswered

CPU, OTHER = "serve-cpu", "train-cpu"
GPU, PRO = "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"
CANDIDATE, TRAINER = "serve-cu128-sm120-wheel", "train-cu128-sm120-wheel"
TAG, GPU_TAG = "hallmark/serve:1.2.0-cpu", "hallmark/serve:1.2.0-cu128-5090-wheel"
IMAGE_TOML = "images/serve/image.toml"
BUILT = [f"{CANDIDATE} audit wheels", "base shell", f"{CANDIDATE} shell"]
AUDITED = [*BUILT, f"{CANDIDATE} audit"]
EVERYTHING = [*AUDITED, f"{CANDIDATE} load", f"{GPU} smoke default"]


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def stricter(lab: Lab) -> None:
    """Let the smoke test of `serve` ask another question."""
    edit(lab.root / "images/serve/smoke.py", "import probe", "import probe  # stricter")


def change_image(lab: Lab) -> None:
    edit(lab.root / "images/serve/Dockerfile", "FROM base", "FROM base\nRUN true")


# --- the way it goes when nothing fails


def test_accepted_cells_are_built_tested_and_tagged(lab: Lab) -> None:
    rows = lab.run(CPU, OTHER)
    serve = ["base shell", f"{CPU} shell", f"{CPU} load", f"{CPU} smoke default"]
    assert lab.ran == [*serve, f"{OTHER} shell", f"{OTHER} load", f"{OTHER} smoke default"]
    row = rows[CPU]
    assert (row.build, row.audit, row.smoke, row.verdict) == ("built in 0 s", "–", "3 of 3 passed", Verdict.ACCEPTED)
    assert (row.exit_code, row.problems, row.tag) == (ExitCode.ACCEPTED, (), TAG)
    assert row.size == lab.layout(CPU).size > 0 and lab.docker.devices[CPU] == []
    assert lab.docker.tags[row.digest] == {"hallmark/serve:cpu", TAG, f"{TAG}-{lab.step(CPU).build_id[:12]}"}
    assert "hallmark/base" not in str(lab.tags), "what others stand on is never tagged"


def test_a_cell_for_a_gpu_is_audited_twice_and_tested_on_it(lab: Lab) -> None:
    row = lab.run(GPU)[GPU]
    assert lab.ran == EVERYTHING
    assert (row.audit, row.smoke, row.verdict) == ("1 native", "4 of 4 passed", Verdict.ACCEPTED)
    assert row.tag == GPU_TAG in lab.docker.tags[row.digest]
    assert lab.docker.devices == {GPU: [["GPU-1"]]}
    audit = json.loads((lab.folder(GPU) / "audit.json").read_text())
    assert (audit["passed"], audit["subject"], audit["digest"]) == (True, CANDIDATE, row.digest)
    host = json.loads((lab.folder(GPU) / GPU / "smoke/default.json").read_text())["host"]
    assert (host["gpu"], host["driver"]) == ("NVIDIA GeForce RTX 5090", "580.95.05")
    assert (host["index"], host["compute"], host["memory_mib"]) == ("0", "12.0", "32607")


@pytest.mark.parametrize(("last", "ran"), [(Stage.BUILD, []), (Stage.SMOKE, [f"{CPU} load", f"{CPU} smoke default"])])
def test_a_run_goes_as_far_as_it_was_asked_to(last: Stage, ran: list[str], lab: Lab) -> None:
    row = lab.run(CPU, last=last)[CPU]
    assert lab.ran == ["base shell", f"{CPU} shell", *ran]
    assert row.exit_code is ExitCode.ACCEPTED and lab.tags == set() and row.tag == ""


def test_a_build_needs_no_gpu_and_includes_the_audit(lab: Lab) -> None:
    lab.gpus = {}
    row = lab.run(GPU, last=Stage.BUILD)[GPU]
    assert lab.ran == AUDITED
    assert (row.exit_code, row.audit, lab.docker.tags) == (ExitCode.ACCEPTED, "1 native", {})


@pytest.mark.parametrize(("cell", "checks"), [(CPU, 3), (GPU, 4)])
def test_a_run_with_nothing_to_do_does_nothing_and_needs_no_gpu(cell: str, checks: int, lab: Lab) -> None:
    first = lab.run(cell)[cell]
    lab.gpus = {}
    second = lab.run(cell)[cell]
    assert lab.ran == []
    assert (second.build, second.smoke) == ("unchanged", f"unchanged: {checks} of {checks} passed")
    assert (second.audit, second.digest, second.tag) == (first.audit, first.digest, first.tag)
    assert second.exit_code is ExitCode.ACCEPTED


def test_a_run_leaves_no_work_behind(lab: Lab) -> None:
    lab.run(CPU, GPU)
    assert list(lab.workspace.work.iterdir()) == []


# --- rejected


def test_a_rejected_cell_gets_no_tag_and_does_not_stop_the_others(lab: Lab) -> None:
    lab.docker.smokes[CPU] = crashing
    rows = lab.run(CPU, OTHER)
    assert (rows[CPU].verdict, rows[CPU].exit_code, rows[CPU].tag) == (Verdict.REJECTED, ExitCode.REJECTED, "")
    assert "exit code 139" in rows[CPU].problems[0].cause
    assert rows[CPU].problems[0].next_step == f"read {lab.folder(CPU) / CPU / 'smoke/default.log'}"
    assert rows[OTHER].exit_code is ExitCode.ACCEPTED
    assert {tag.split(":")[0] for tag in lab.tags} == {"hallmark/train"}


def test_a_cell_that_is_no_longer_accepted_loses_the_tags_it_had(lab: Lab) -> None:
    digest = lab.run(CPU)[CPU].digest
    lab.docker.tags[digest].add("mine/keep:1")
    stricter(lab)
    lab.docker.smokes[CPU] = crashing
    row = lab.run(CPU)[CPU]
    assert lab.ran == [f"{CPU} smoke default"], "another question about the same image"
    assert row.digest == digest and lab.tags == {"mine/keep:1"}, "what its owner called it stays"
    assert "these tags were withdrawn" in lab.said


@pytest.mark.parametrize("cell", [CPU, GPU])
def test_a_rejection_is_remembered_and_not_asked_again(cell: str, lab: Lab) -> None:
    lab.docker.smokes[cell] = crashing
    lab.run(cell)
    lab.docker.smokes.clear()
    row = lab.run(cell)[cell]
    assert lab.ran == [] and row.exit_code is ExitCode.REJECTED and lab.tags == set()


def test_another_build_that_is_rejected_leaves_the_tag_on_the_last_one_accepted(lab: Lab) -> None:
    digest = lab.run(CPU)[CPU].digest
    change_image(lab)
    lab.docker.smokes[CPU] = crashing
    assert lab.run(CPU)[CPU].digest != digest
    assert TAG in lab.docker.tags[digest]


def test_another_build_that_is_accepted_takes_the_moving_tag_over(lab: Lab) -> None:
    old = lab.run(CPU)[CPU].digest
    change_image(lab)
    new = lab.run(CPU)[CPU].digest
    assert TAG in lab.docker.tags[new]
    assert len(lab.docker.tags[old]) == 1, "the tag that names the old build stays with it"


# --- undecided


def test_what_could_not_be_decided_is_asked_again(lab: Lab) -> None:
    lab.docker.smokes[CPU] = unanswered
    row = lab.run(CPU)[CPU]
    assert (row.verdict, row.exit_code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE) and lab.tags == set()
    lab.docker.smokes.clear()
    row = lab.run(CPU)[CPU]
    assert lab.ran == [f"{CPU} smoke default"] and row.exit_code is ExitCode.ACCEPTED


def test_without_the_gpu_nothing_is_decided_and_the_next_step_is_named(lab: Lab) -> None:
    lab.gpus = {}
    row = lab.run(GPU)[GPU]
    assert lab.ran == AUDITED, "neither loaded nor tested"
    assert (row.audit, row.smoke, row.verdict) == ("1 native", "–", "undecided")
    assert row.exit_code is ExitCode.INCONCLUSIVE and lab.docker.tags == {}
    [problem] = row.problems
    assert problem.cause == "not decided: this machine has no NVIDIA GPU"
    assert f"nox -s verify-5090 -- {GPU} --digest {row.digest}" in problem.next_step
    assert lab.verdict(GPU) == CellVerdict(GPU, row.digest, Verdict.INCONCLUSIVE, ("not smoke-tested yet",))
    lab.gpus = Lab.GPUS
    assert lab.run(GPU)[GPU].tag == GPU_TAG
    assert lab.ran == [f"{CANDIDATE} load", f"{GPU} smoke default"]


def test_a_container_that_decided_nothing_needs_the_gpu_again(lab: Lab) -> None:
    lab.docker.smokes[GPU] = unanswered
    assert lab.run(GPU)[GPU].verdict is Verdict.INCONCLUSIVE
    lab.gpus = {}
    assert lab.run(GPU)[GPU].verdict == "undecided"


def test_an_engine_that_cannot_hand_the_gpu_out_is_undecided(lab: Lab) -> None:
    lab.docker.runtimes = {"runc": {}}
    row = lab.run(GPU)[GPU]
    assert row.exit_code is ExitCode.INCONCLUSIVE and "NVIDIA Container Toolkit" in str(row.problems[0])
    assert lab.tags == set() and lab.docker.created == []


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
    lab.workshop.on_build[CPU] = raising(error)
    rows = lab.run(CPU, OTHER)
    row = rows[CPU]
    assert (row.build, row.verdict, row.exit_code, row.tag) == (build, "undecided", code, "")
    assert str(row.problems[0]) == str(error) and CPU not in lab.docker.devices
    assert rows[OTHER].exit_code is ExitCode.ACCEPTED


def test_a_parent_that_cannot_be_built_fails_each_cell_on_it(lab: Lab) -> None:
    lab.builder.code = 1
    assert {row.exit_code for row in lab.run(CPU, OTHER).values()} == {ExitCode.BUILD_FAILED}
    assert lab.ran == ["base shell"] * 2
    assert not lab.workspace.layouts.exists() and list(lab.workspace.work.iterdir()) == []


# --- several cells


def test_two_gpus_of_one_capability_share_the_build_and_the_audit(lab: Lab) -> None:
    rows = lab.run(GPU, PRO)
    assert lab.ran == [*EVERYTHING, f"{PRO} smoke default"]
    assert rows[GPU].digest == rows[PRO].digest and rows[PRO].build == "unchanged"
    assert lab.docker.devices == {GPU: [["GPU-1"]], PRO: [["GPU-2"]]}
    assert {rows[GPU].tag, rows[PRO].tag} <= lab.docker.tags[rows[GPU].digest] and len(lab.tags) == 6
    assert all((lab.folder(GPU) / cell / "smoke/default.json").is_file() for cell in (GPU, PRO))


def test_what_one_gpu_rejects_stays_stamped_for_the_other(lab: Lab) -> None:
    lab.run(GPU, PRO)
    stricter(lab)
    lab.docker.smokes[PRO] = crashing
    rows = lab.run(GPU, PRO)
    assert (rows[GPU].verdict, rows[PRO].verdict) == (Verdict.ACCEPTED, Verdict.REJECTED)
    assert {tag.rsplit("-wheel", 1)[0].replace("1.2.0-", "") for tag in lab.tags} == {"hallmark/serve:cu128-5090"}
    assert len(lab.tags) == 3


def test_after_a_rejection_nothing_more_is_begun_unless_it_is_to_keep_going(lab: Lab) -> None:
    lab.write_locks("90")
    both = (GPU, "train-cu128-5090-wheel")
    rows = lab.run(*both, keep_going=False)
    assert lab.ran == [f"{CANDIDATE} audit wheels"]
    skipped = rows[both[1]]
    assert [row.exit_code for row in rows.values()] == [ExitCode.REJECTED, ExitCode.INCONCLUSIVE]
    assert (skipped.verdict, skipped.digest) == ("–", "")
    assert "not begun, because another cell failed before" in skipped.problems[0].cause
    assert "--keep-going" in skipped.problems[0].next_step
    lab.run(*both, keep_going=True)
    assert lab.ran == [f"{TRAINER} audit wheels"], "the other's rejection is remembered"


def test_after_a_failed_build_nothing_more_is_begun(lab: Lab) -> None:
    lab.workshop.on_build[CPU] = raising(BuildFailed("no rule"))
    rows = lab.run(CPU, OTHER, keep_going=False)
    assert [row.exit_code for row in rows.values()] == [ExitCode.BUILD_FAILED, ExitCode.INCONCLUSIVE]
    assert lab.builder.ran and OTHER not in str(lab.ran)


def test_what_could_not_be_decided_stops_nothing(lab: Lab) -> None:
    lab.gpus = {}
    rows = lab.run(GPU, CPU, keep_going=False)
    assert [row.exit_code for row in rows.values()] == [ExitCode.INCONCLUSIVE, ExitCode.ACCEPTED]


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_cells_side_by_side_build_what_they_share_once(jobs: int, lab: Lab) -> None:
    cells = [GPU, "train-cu128-5090-wheel", PRO, CPU, OTHER]
    rows = lab.run(*cells, jobs=jobs)
    assert list(rows) == cells, "in the plan's order, whoever was first"
    assert {row.exit_code for row in rows.values()} == {ExitCode.ACCEPTED}
    assert len(lab.builder.ran) == 5, "base, and each candidate, once"
    assert sorted(lab.docker.devices) == sorted(cells) and len(lab.tags) == 15
    assert lab.ran.count(f"{CANDIDATE} audit") == 1


def test_side_by_side_nothing_more_is_begun_either(lab: Lab) -> None:
    lab.write_locks("90")
    rows = lab.run(GPU, PRO, "train-cu128-5090-wheel", CPU, jobs=2, keep_going=False)
    assert ExitCode.REJECTED in [row.exit_code for row in rows.values()] and len(rows) == 4
    skipped = [row for row in rows.values() if row.verdict == "–"]
    assert all("not begun" in row.problems[0].cause for row in skipped)


def test_an_interruption_ends_the_run_and_the_next_one_goes_on(lab: Lab) -> None:
    def interrupt(container: FakeContainer) -> None:
        container.on_start = raising(KeyboardInterrupt())

    lab.docker.smokes[OTHER] = interrupt
    with pytest.raises(KeyboardInterrupt):
        lab.run(CPU, OTHER)
    assert lab.builder.stopped == 0 and list(lab.workspace.work.iterdir()) == []
    lab.docker.smokes.clear()
    lab.run(CPU, OTHER)
    assert lab.ran == [f"{OTHER} smoke default"], "what was finished is kept"


def test_an_interruption_ends_what_runs_beside_it(lab: Lab) -> None:
    lab.docker.smokes[CPU] = lab.docker.smokes[OTHER] = lambda container: raising(KeyboardInterrupt())()
    with pytest.raises(KeyboardInterrupt):
        lab.run(CPU, OTHER, jobs=2)
    assert lab.builder.stopped == 1 and lab.tags == set()


def test_after_a_failed_audit_nothing_is_tested(lab: Lab) -> None:
    lab.run(GPU)
    path = lab.folder(GPU) / "audit.json"
    problems = [{"place": "x", "cause": "y", "next_step": ""}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"passed": False, "problems": problems}))
    (lab.folder(GPU) / GPU / "smoke/default.json").unlink()
    row = lab.run(GPU)[GPU]
    assert row.verdict is Verdict.REJECTED and row.exit_code is ExitCode.REJECTED
    assert f"{GPU} smoke default" not in lab.ran and not lab.tags
