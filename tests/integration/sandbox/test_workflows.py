"""The road of build.yml with the program itself, a real engine and a real registry: from a build to a tag, or none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.engine import Engine
from scripts.project import Project
from scripts.site import Site
from tests.integration.conftest import ROOT, find_step, run_verb, share_base
from tests.integration.sandbox.test_registry import ACCEPT, make_key
from tests.made_sigstore import ISSUER, NAME, MadeSigstore
from tests.workflows.machine import World
from tests.workflows.runner import Event, Runner

Road = Callable[..., tuple[Runner, str]]


@pytest.fixture
def road(checkout: Project, engine: Engine, sandbox: Project, registry: str, tmp_path: Path) -> Road:
    """Runs build.yml for one cell of the sandbox; every job has a checkout of its own, which has the base image.

    A key signs, unless there is a Sigstore.
    """
    private, _ = make_key(tmp_path, "ours")

    def lay_out(work: Path) -> None:
        for name in ("matrix.toml", "matrix.lock"):
            shutil.copyfile(sandbox.matrix.root / name, work / name)
        shutil.copyfile(ROOT / "pyproject.toml", work / "pyproject.toml")
        shutil.copytree(sandbox.matrix.root / "images", work / "images")
        share_base(checkout, Project.open(work))

    def run(cell: str, made: MadeSigstore | None = None) -> tuple[Runner, str]:
        cache = Site.from_environment().cache.parent
        own = {
            **engine.environment,
            "DOCKER_HOST": engine.host,
            "HALLMARK_ENGINE": "host",
            "XDG_CACHE_HOME": str(cache),
        }
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **own}
        own |= {name: os.environ[name] for name in ("DOCKER_CONFIG",) if name in os.environ}  # where plugins are
        real: dict[str, Any] = {"registry": f"{registry}/hallmark", "environment": own}
        world = World(tmp_path / f"the world of {cell}", real=real, lay_out=lay_out)
        event = Event(inputs={"cells": cell}, secrets={"HALLMARK_SIGNING_KEY": private.read_text()})
        if made:
            world.identity = made.job()
            trust = json.dumps(made.trust_config())
            event = Event(
                inputs={"cells": cell}, variables={"HALLMARK_SIGNING": "keyless", "HALLMARK_SIGNING_TRUST": trust}
            )
        runner = Runner(world, event)
        return runner, runner.run("build.yml")

    return run


def said(runner: Runner) -> str:
    return "\n".join(f"{job.name}: {job.result}\n{job.said}" for job in runner.runs)


def test_what_passes_is_tagged_by_a_job_that_ran_nothing(
    road: Road, sandbox: Project, registry: str, tmp_path: Path
) -> None:
    runner, result = road("good-cpu")
    assert result == "success", said(runner)
    step = find_step(sandbox, "good-cpu")
    base = f"http://{registry}/v2/hallmark/good"
    tags = requests.get(f"{base}/tags/list", timeout=10).json()["tags"]
    assert {"1.0-cpu", f"1.0-cpu-{step.build_id[:12]}"} <= set(tags)
    found = run_verb(tmp_path, "verify", f"{registry}/hallmark/good:1.0-cpu", "--key", str(tmp_path / "ours.pub"))
    assert found.returncode == 0, found.stdout + found.stderr
    [promoted] = runner.find("promote: ")
    assert "good-cpu promote ✓" in promoted.said and "smoke default" not in promoted.said
    feed = runner.world.folder / "artifacts/feed-good-cpu/feed.jsonl"
    assert '"accepted"' in feed.read_text()


def test_what_passes_is_signed_by_the_job_itself_where_there_is_no_key(
    road: Road, registry: str, tmp_path: Path
) -> None:
    made = MadeSigstore()
    with made.serve():
        runner, result = road("good-cpu", made)
    assert result == "success", said(runner)
    assert [job.result for job in runner.find("promote")] == ["skipped", "success"]
    assert made.asked.count("/api/v1/log/entries") == 4, "each statement is logged"
    root = tmp_path / "trusted_root.json"
    root.write_text(json.dumps(made.trusted_root()))
    place, trust = f"{registry}/hallmark/good:1.0-cpu", ["--issuer", ISSUER, "--trusted-root", str(root)]
    found = run_verb(tmp_path, "verify", place, "--identity", NAME, *trust)
    assert found.returncode == 0 and f"4 statements signed by {NAME}" in found.stdout, found.stdout + found.stderr
    refused = run_verb(tmp_path, "verify", place, "--identity", "https://github.com/mallory", *trust)
    assert refused.returncode == 1 and "another identity signed it" in refused.stdout, refused.stdout + refused.stderr


def test_what_crashes_is_there_by_its_digest_and_has_no_tag(road: Road, registry: str) -> None:
    runner, result = road("crash-cpu")
    assert result == "failure", said(runner)
    assert [job.result for job in runner.find("again")] == ["skipped"], "a rejection is not asked again"
    [promoted] = runner.find("promote: ")
    assert promoted.result == "failure" and "rejected" in promoted.said
    base = f"http://{registry}/v2/hallmark/crash"
    assert not requests.get(f"{base}/tags/list", timeout=10).json().get("tags")
    [row] = json.loads(runner.find("draw: ")[0].outputs["rows"])["include"]
    assert requests.get(f"{base}/manifests/{row['digest']}", headers=ACCEPT, timeout=10).status_code == 200
