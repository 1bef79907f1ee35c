"""Today's questions, all of them and no others, and the verdict that their answers come to."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from scripts.bundle.check import check_bundle
from scripts.bundle.write import write_bundle
from scripts.model import Outcome, Result, Verdict
from scripts.smoke import watch
from tests.unit.builders import edit
from tests.unit.bundle import GPU, Said, World, answering, result, said_of, scenario
from tests.unit.fake_docker import FakeContainer
from tests.unit.pipeline.lab import Lab


def refused(world: World, step: str, change: Callable[[Said], object]) -> str:
    found = world.tamper(change)
    assert found.verdict is Verdict.REJECTED
    return said_of(found, step)


# --- suite


def test_evidence_of_an_old_suite_is_refused(world: World) -> None:
    said = refused(world, "suite", lambda said: scenario(said, "more").update(smoke_id="0" * 64))
    assert said == "of another suite than this checkout's: more"


def test_an_audit_by_other_rules_is_refused(world: World) -> None:
    assert "by other rules" in refused(world, "suite", lambda said: said["audit"].update(audit_id="0" * 64))


def test_a_changed_script_makes_it_old(world: World) -> None:
    path = world.lab.root / "images/serve/smoke.py"
    before = path.read_text()
    edit(path, "import probe", "import probe  # stricter")
    try:
        assert "another suite" in said_of(world.check(), "suite")
    finally:
        path.write_text(before)


# --- complete


def drop(said: Said, name: str) -> None:
    said["scenarios"].remove(scenario(said, name))


def test_a_scenario_that_decides_must_be_there(world: World) -> None:
    assert "missing: more" in refused(world, "complete", lambda said: drop(said, "more"))
    assert world.tamper(lambda said: drop(said, "extra")).verdict is Verdict.ACCEPTED


def test_a_scenario_that_nobody_knows_is_refused(world: World) -> None:
    added = lambda said: said["scenarios"].append(scenario(said) | {"scenario": "easy"})  # noqa: E731
    assert "not this cell's: easy" in refused(world, "complete", added)
    assert "twice: more" in refused(
        world, "complete", lambda said: said["scenarios"].append(deepcopy(scenario(said, "more")))
    )


def test_a_scenario_that_decides_cannot_be_said_not_to(world: World) -> None:
    assert "decide: default, more" in refused(world, "complete", lambda said: said.update(required=["default"]))


@pytest.mark.parametrize("check", ["serve", "container", "gpu"])
def test_a_check_must_be_there(check: str, world: World) -> None:
    change = lambda said: scenario(said)["results"].remove(result(said, check))  # noqa: E731
    assert refused(world, "complete", change) == f"these checks are missing: default/{check}"


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_a_check_that_nobody_asked_for_is_refused(outcome: str, world: World) -> None:
    more = {"check": "looks-fine", "outcome": outcome, "detail": "", "measured": {}}
    change = lambda said: scenario(said)["results"].append(more)  # noqa: E731
    assert refused(world, "complete", change) == "nobody asked for these checks: default/looks-fine"


def test_a_check_twice_is_refused(world: World) -> None:
    change = lambda said: scenario(said)["results"].append(result(said, "serve"))  # noqa: E731
    assert "twice: default/serve" in refused(world, "complete", change)


def test_a_skipped_check_is_refused(world: World) -> None:
    assert "skipped: default/serve" in refused(
        world, "complete", lambda said: result(said, "serve").update(outcome="skipped")
    )


def test_what_a_script_prints_besides_is_no_check_and_never_good(world: World) -> None:
    noise = {"check": "protocol", "outcome": "failed", "detail": "not a result: x", "measured": {}}
    found = world.tamper(lambda said: scenario(said)["results"].append(noise))
    assert "complete" not in found.failed and "default/protocol" in said_of(found, "verdict")
    good = noise | {"outcome": "passed"}
    assert "default/protocol" in refused(world, "complete", lambda said: scenario(said)["results"].append(good))


# --- verdict


def test_the_verdict_is_what_the_results_come_to(world: World) -> None:
    said = refused(world, "verdict", lambda said: result(said, "serve").update(outcome="failed", detail="no answer"))
    assert said == "it says accepted, and its results come to rejected: default/serve: no answer"
    assert "come to accepted" in refused(
        world, "verdict", lambda said: said.update(verdict="rejected", reasons=["bad"])
    )
    assert "reasons" in refused(world, "verdict", lambda said: said.update(reasons=["it was slow"]))


def test_what_decides_nothing_decides_nothing(world: World) -> None:
    assert world.tamper(lambda said: result(said, "load", "extra").update(outcome="failed")).verdict is Verdict.ACCEPTED


def test_an_audit_that_failed_is_no_pass(world: World) -> None:
    assert "audit" in refused(world, "verdict", lambda said: said["audit"].update(passed=False))


def test_two_drivers_are_no_pass(world: World) -> None:
    change = lambda said: scenario(said)["host"].update(driver="581.1.1")  # noqa: E731
    assert "several drivers" in refused(world, "verdict", change)


# --- red runs count as well


def broken(container: FakeContainer) -> None:
    """The first check passes, and then the process is gone."""
    answering(container)
    container.stdout = container.stdout.splitlines()[0]
    container.code = 139


def test_a_red_run_holds_though_its_last_checks_are_missing(owner: Lab, tmp_path: Path) -> None:
    owner.docker.smokes[GPU] = broken
    assert owner.run(GPU)[GPU].verdict == "rejected"
    [job] = owner.jobs(GPU)
    bundle = write_bundle(owner.bench, job, tmp_path / "red.json")
    assert check_bundle(owner.project, tmp_path / "red.json").verdict is Verdict.ACCEPTED
    assert bundle.verdict is Verdict.REJECTED and "segmentation fault" in bundle.reasons[0]
    assert [each.check for each in bundle.evidence[0].results] == ["load", "container", "gpu"]


def test_a_run_in_which_the_gpu_failed_holds_as_undecided(owner: Lab, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "judge_gpu", lambda *_: (Result("gpu", Outcome.ERROR, "Xid 79"),))
        assert owner.run(GPU)[GPU].verdict == "inconclusive"
    [job] = owner.jobs(GPU)
    bundle = write_bundle(owner.bench, job, tmp_path / "odd.json")
    assert check_bundle(owner.project, tmp_path / "odd.json").verdict is Verdict.ACCEPTED
    assert bundle.verdict is Verdict.INCONCLUSIVE and bundle.reasons[0] == "default/gpu: Xid 79"
