"""Every workflow from end to end: which jobs run where, what each may reach, and what comes of it."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.workflows.conftest import COMPILED, CPU, GPU, Make
from tests.workflows.machine import World
from tests.workflows.runner import Event, JobRun, Runner, list_runs, workflow_names

PYTORCH = {"GPU_TARGETS": '["h200"]'}
Road = tuple[Runner, str]


def only(runner: Runner, start: str) -> JobRun:
    [found] = runner.find(start)
    return found


def tags(world: World) -> set[str]:
    folder = world.folder / "tags"
    return {each.name for each in folder.iterdir()} if folder.is_dir() else set()


def seen(world: World, *start: str) -> list[dict[str, str]]:
    """What was in reach of the commands that begin with these words."""
    return [each["seen"] for each in world.log if each["command"][: len(start)] == list(start)]


@pytest.fixture(scope="session")
def green(make_world: Make) -> Road:
    """Two cells, the GPU's and the CPU's, to their tags."""
    secrets = {"HALLMARK_SIGNING_KEY": "the key"}
    runner = Runner(make_world(), Event(inputs={"cells": "pytorch-*"}, variables=PYTORCH, secrets=secrets))
    return runner, runner.run("build.yml")


@pytest.fixture(scope="session")
def redrawn(make_world: Make) -> Road:
    """A cell that is compiled, by a remote builder, and whose first host could not decide."""
    variables = {
        "GPU_TARGETS": '["5090"]',
        "COMPILE_RUNNER": "large",
        "BUILDER_ADDRESS": "tcp://builder.example.com:1234",
    }
    secrets = dict.fromkeys(("BUILDER_AUTHORITY", "BUILDER_CERTIFICATE", "BUILDER_KEY"), "some PEM")
    runner = Runner(
        make_world(**{f"smoke__{COMPILED}": [3, 0]}),
        Event(inputs={"cells": COMPILED}, variables=variables, secrets=secrets),
    )
    return runner, runner.run("build.yml")


@pytest.fixture(scope="session")
def red(make_world: Make) -> Road:
    """A build that fails, and a candidate that is rejected."""
    world = make_world(**{f"build__{CPU}": 4, f"smoke__{GPU}": 1})
    runner = Runner(world, Event(inputs={"cells": "pytorch-*"}, variables=PYTORCH))
    return runner, runner.run("build.yml")


@pytest.fixture(scope="session")
def keyless(make_world: Make) -> Road:
    """The CPU's cell to its tag, signed as the job that promotes it, by the site's own Sigstore."""
    variables = {"HALLMARK_SIGNING": "keyless", "HALLMARK_SIGNING_TRUST": "the trust"}
    runner = Runner(make_world(), Event(inputs={"cells": CPU}, variables=variables))
    return runner, runner.run("build.yml")


@pytest.fixture(scope="session")
def locked(make_world: Make) -> Road:
    runner = Runner(make_world(), Event())
    return runner, runner.run("update-lock.yml")


@pytest.fixture(scope="session")
def tested(make_world: Make) -> Road:
    runner = Runner(make_world(), Event(name="pull_request", ref="refs/pull/1/merge"))
    return runner, runner.run("ci.yml")


@pytest.fixture(scope="session")
def shown(make_world: Make, green: Road) -> Road:
    """The catalogue, after the green run and one that left nothing."""
    world = make_world(gh__run__list=["11", "12"])
    world.answers = {"gh run list": [["11", "12"]]}
    world.save()
    shutil.copytree(green[0].world.folder / "artifacts", world.folder / "runs/12")
    runner = Runner(world, Event(name="push"))
    return runner, runner.run("pages.yml")


# --- build.yml


def test_a_candidate_goes_by_digest_from_its_builder_to_its_gpu_and_to_its_tag(green: Road, cells: Any) -> None:
    runner, result = green
    assert result == "success", [job.said for job in runner.runs if job.result == "failure"]
    assert tags(runner.world) == {CPU, GPU}
    for cell in (CPU, GPU):
        made = [each for each in runner.world.commands("python", "-m", "scripts") if each[4:5] == [cell]]
        place = f"ghcr.io/acme/hallmark/pytorch@{cells[cell]['digest']}"
        assert [each[3] for each in made] == ["build", "build", "build", "smoke", "publish"]
        assert made[2][5:] == ["--digest", cells[cell]["digest"], "--from", place]
        assert all(cells[cell]["digest"] in each for each in made[2:])
    assert [job.result for job in runner.find("again")] == ["skipped"]


def test_each_job_runs_where_it_may(green: Road, redrawn: Road) -> None:
    runner, _ = green
    assert {job.name.split(": ")[1]: job.runner for job in runner.find("verify / ")} == {
        CPU: "ubuntu-24.04",
        GPU: ["self-hosted", "gpu", "h200"],
    }
    others = [job.runner for job in runner.runs if job.runner and not job.name.startswith("verify / ")]
    assert set(others) == {"ubuntu-24.04"}
    assert [job.runner for job in redrawn[0].find("build: ")] == ["large"]


def test_what_can_write_and_what_signs_is_where_it_is_needed_alone(green: Road) -> None:
    world = green[0].world
    assert len(seen(world, "docker", "login")) == 6, "two to push, two to pull, two to promote"
    for each in world.log:
        verb = each["command"][3] if each["command"][:3] == ["python", "-m", "scripts"] else ""
        assert ("HALLMARK_REGISTRY" in each["seen"]) == (
            verb == "publish" or (verb == "build" and "--digest" not in each["command"] and "logged in" in each["seen"])
        ) or each["command"][0] in ("docker", "sudo")
        assert ("HALLMARK_SIGNING_KEY" in each["seen"]) == (verb == "publish") or each["command"][0] == "docker"
        assert verb != "smoke" or not {"TOKEN", "KEY", "logged in"} & each["seen"].keys()
    left = [
        *world.folder.glob("jobs/*/runner temp/**/config.json"),
        *world.folder.glob("jobs/*/runner temp/signing.key"),
    ]
    assert left == [], "no credentials stay"


def test_who_may_say_who_it_is_is_who_signs_alone(keyless: Road, green: Road) -> None:
    runner, result = keyless
    assert result == "success" and tags(runner.world) == {CPU}, [job.said for job in runner.runs]
    assert [job.result for job in runner.find("promote")] == ["skipped", "success"]
    asks = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
    able = [each["command"] for each in runner.world.log if asks in each["seen"]]
    assert [each[0] for each in able] == ["python3", "pip", "docker", "python"] and able[-1][3] == "publish"
    [seen_by] = seen(runner.world, "python", "-m", "scripts", "publish")
    assert seen_by["HALLMARK_SIGNING"] == "keyless" and "HALLMARK_SIGNING_KEY" not in seen_by
    assert [job.result for job in green[0].find("promote-keyless")] == ["skipped"]
    assert not any(asks in each["seen"] for each in green[0].world.log)


def test_every_cell_that_is_not_run_is_in_the_summary_with_the_reason(green: Road) -> None:
    summary = (green[0].world.folder / "jobs/plan-0/summary").read_text()
    assert "| pytorch-cu130-sm90-wheel | build on ubuntu-24.04 |" in summary
    for cell in ("pytorch-cu128-5090", "pytorch-cu130-h100-wheel"):
        assert f"| {cell} | not run: no runner has its GPU" in summary


def test_what_a_host_could_not_decide_is_drawn_once_more(redrawn: Road) -> None:
    runner, result = redrawn
    assert result == "success" and tags(runner.world) == {COMPILED}
    assert only(runner, "verify / ").result == "failure", "it is shown, and does not end the run"
    assert only(runner, "again / ").result == "success"


def test_what_is_compiled_reaches_its_builder_and_the_push_needs_none(redrawn: Road) -> None:
    world = redrawn[0].world
    assert len(world.commands("docker", "buildx", "create")) == 1
    built, pushed, *_ = seen(world, "python", "-m", "scripts", "build")
    assert built["HALLMARK_BUILDER"] == "remote" and "HALLMARK_BUILDER" not in pushed


def test_a_build_that_fails_and_a_candidate_that_is_rejected_end_the_run_red(red: Road) -> None:
    runner, result = red
    assert result == "failure" and tags(runner.world) == set()
    assert {job.name: job.result for job in runner.find("build: ")} == {
        "build: build pytorch-cu130-sm90-wheel": "success",
        "build: build pytorch-cpu": "failure",
    }
    assert [job.name for job in runner.find("verify / ")] == [f"verify / cell: {GPU}"], (
        "what was not built is not drawn"
    )
    assert [job.result for job in runner.find("again")] == ["skipped"], "what was rejected is not asked again"
    assert only(runner, "promote: ").result == "failure"
    kept = {each.name for each in (runner.world.folder / "artifacts").iterdir()}
    assert {"failed-pytorch-cpu", f"feed-{GPU}"} <= kept and "candidate-pytorch-cpu" not in kept


def test_nothing_but_main_is_built(make_world: Make) -> None:
    world = make_world()
    runner = Runner(world, Event(ref="refs/heads/other", name="workflow_dispatch", inputs={"cells": "*"}))
    assert runner.run("build.yml") == "success"
    assert {job.result for job in runner.runs} == {"skipped"} and world.log == []


# --- the others


def test_new_locks_are_proposed_by_a_job_that_resolves_nothing(locked: Road) -> None:
    runner, result = locked
    assert result == "success", [job.said for job in runner.runs]
    assert len(runner.world.commands("gh", "pr", "create")) == 1
    assert len([each for each in runner.world.commands("git") if "push" in each]) == 1


def test_locks_that_did_not_change_are_not_proposed(make_world: Make) -> None:
    world = make_world()
    world.answers = {"nox -s lock": "unchanged"}
    world.save()
    runner = Runner(world, Event())
    assert runner.run("update-lock.yml") == "success" and world.commands("gh") == []
    assert "no lock has changed" in (world.folder / "jobs/propose-0/summary").read_text()


def test_a_change_is_tested_by_the_command_of_the_readme(tested: Road) -> None:
    runner, result = tested
    assert result == "success", [job.said for job in runner.runs]
    [ran] = runner.world.commands("nox")
    assert {"lint", "tests", "workflows", "integration"} <= set(ran)
    assert all("TOKEN" not in each["seen"] for each in runner.world.log)


OWNERS = "docs/evidence/owners/pytorch-cu130-5090-wheel"


@pytest.mark.parametrize(
    ("added", "result"),
    [({}, "success"), ({f"{OWNERS}/a b.json": "{}"}, "failure"), ({f"{OWNERS}/-k.json": "no JSON"}, "failure")],
)
def test_only_what_a_pull_request_adds_of_owners_runs_is_checked(
    added: dict[str, str], result: str, make_world: Make
) -> None:
    world = make_world()
    world.before, world.added = {f"{OWNERS}/old.json": "{}"}, added
    runner = Runner(world, Event(name="pull_request", ref="refs/pull/1/merge"))
    runner.run("ci.yml")
    job = only(runner, "owners")
    assert job.result == result, job.said
    checked = [each[6:] for each in world.commands("python", "-m", "scripts", "bundle")]
    assert checked == ([list(added)] if added else [])
    assert "Traceback" not in job.said


def test_a_change_that_fails_its_tests_is_red(make_world: Make) -> None:
    world = make_world()
    world.answers = {"nox -s lint tests workflows integration": 1}
    world.save()
    assert Runner(world, Event(name="pull_request", ref="refs/pull/1/merge")).run("ci.yml") == "failure"


def test_the_catalogue_shows_what_the_last_builds_have_shown(shown: Road) -> None:
    runner, result = shown
    assert result == "success", [job.said for job in runner.runs]
    assert "nothing is kept of run 11" in only(runner, "catalogue: ").said
    pages = runner.world.folder / "pages"
    for cell in (CPU, GPU):
        page = next(path for path in pages.rglob("*.html") if path.stem == cell or path.parent.name == cell)
        assert "2026-01-02" in page.read_text()
    assert "ghcr.io/acme/hallmark" in json.dumps([path.read_text() for path in pages.rglob("*.html")])


# --- all of it


def test_every_line_was_run(green: Road, redrawn: Road, keyless: Road, locked: Road, tested: Road, shown: Road) -> None:
    executed = set().union(*(runner.executed for runner, _ in (green, redrawn, keyless, locked, tested, shown)))
    assert set().union(*map(list_runs, workflow_names())) - executed == set()
