"""What every workflow keeps to: who may write, what is pinned, how long a job lasts, what a GPU's machine sees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.workflows.runner import WORKFLOWS, read_workflow, workflow_names

NAMES = workflow_names()
READ = "read"


def jobs(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read_workflow(name)["jobs"]
    return found


def all_jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in NAMES:
        for key, job in jobs(name).items():
            yield f"{name}: {key}", job


@pytest.mark.parametrize("name", NAMES)
def test_nothing_may_be_done_that_a_job_does_not_ask_for(name: str) -> None:
    assert read_workflow(name)["permissions"] == {}
    assert all("permissions" in job for job in jobs(name).values())


def test_few_jobs_can_write_and_none_of_them_tests_anything() -> None:
    writers = {
        place: {right for right, level in job["permissions"].items() if level != READ}
        for place, job in all_jobs()
        if set(job["permissions"].values()) != {READ}
    }
    assert writers == {
        "build.yml: build": {"packages"},
        "build.yml: promote": {"packages"},
        "build.yml: promote-keyless": {"packages", "id-token"},
        "pages.yml: deploy": {"pages", "id-token"},
        "update-lock.yml: propose": {"contents", "pull-requests"},
    }


def test_what_tests_a_candidate_can_read_alone_and_is_given_no_secret() -> None:
    [job] = jobs("verify.yml").values()
    assert job["permissions"] == {"contents": READ, "packages": READ}
    assert "secrets" not in (WORKFLOWS / "verify.yml").read_text()
    callers = [job for _, job in all_jobs() if "verify.yml" in job.get("uses", "")]
    assert len(callers) == 2
    assert all(job["permissions"] == {"contents": READ, "packages": READ} and "secrets" not in job for job in callers)


def test_only_build_on_main_reaches_a_gpus_machine() -> None:
    assert set(read_workflow("verify.yml")["on"]) == {"workflow_call"}
    assert set(read_workflow("build.yml")["on"]) == {"schedule", "workflow_dispatch"}
    assert jobs("build.yml")["plan"]["if"] == "github.ref == 'refs/heads/main'"
    others = [place for place, job in all_jobs() if job.get("runs-on", "ubuntu-24.04") != "ubuntu-24.04"]
    assert others == ["build.yml: build", "verify.yml: cell"]
    # Whoever else calls for it, or starts on what strangers send, would bring their code there.
    strangers = {"pull_request", "pull_request_target", "workflow_run", "issue_comment"}
    assert [name for name in NAMES if strangers & set(read_workflow(name)["on"])] == ["ci.yml"]
    assert not any(
        "verify.yml" in (WORKFLOWS / name).read_text() for name in NAMES if name not in ("build.yml", "verify.yml")
    )


@pytest.mark.parametrize(("place", "job"), list(all_jobs()), ids=[place for place, _ in all_jobs()])
def test_every_job_ends_in_time(place: str, job: dict[str, Any]) -> None:
    assert "uses" in job or 0 < job["timeout-minutes"] <= 360


def test_one_promotion_of_a_tag_at_a_time() -> None:
    for promote in (jobs("build.yml")[name] for name in ("promote", "promote-keyless")):
        assert promote["concurrency"] == {"group": "promote-${{ matrix.id }}", "cancel-in-progress": False}
        assert promote["strategy"]["max-parallel"] == 1
    for name in ("build.yml", "pages.yml", "update-lock.yml"):
        assert read_workflow(name)["concurrency"]["cancel-in-progress"] is False


def test_who_signs_without_a_key_does_what_who_signs_with_one_does() -> None:
    by_key, keyless = (jobs("build.yml")[name] for name in ("promote", "promote-keyless"))
    apart = {key for key in by_key if by_key[key] != keyless[key]}
    assert apart == {"env", "if", "permissions"} and by_key.keys() == keyless.keys()
    assert by_key["if"].replace("!= 'keyless'", "== 'keyless'") == keyless["if"], "always one of them"


def test_every_action_is_pinned_once_with_its_version() -> None:
    pins: dict[str, set[str]] = {}
    for name in NAMES:
        for line in (WORKFLOWS / name).read_text().splitlines():
            if "uses:" not in line or "$/" in line:
                continue
            match = re.fullmatch(r"\s*(?:- )?uses: (actions/[\w-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert match, line
            pins.setdefault(match[1], set()).add(match[2])
    assert {name: len(versions) for name, versions in pins.items()} == dict.fromkeys(pins, 1)
    assert len(pins) == 5
