"""The README's promise on the real cells: built, smoke-tested and tagged; and then nothing to do."""

from __future__ import annotations

import json
import time

import pytest

from scripts.build.build import find_candidate
from scripts.build.steps import make_steps
from scripts.engine import Engine
from scripts.engine.images import digest_of_tag
from scripts.plan import Selection, make_plan
from scripts.project import Project
from tests.integration.conftest import ROOT, run_verb

CELLS = ["pytorch-cpu", "vllm-cpu"]
pytestmark = pytest.mark.usefixtures("stamped")


@pytest.mark.parametrize("cell", CELLS)
def test_both_cells_are_accepted_and_tagged(checkout: Project, engine: Engine, cell: str) -> None:
    [planned] = make_plan(checkout.matrix, Selection([cell]))
    step = make_steps(checkout.matrix, [planned])[-1]
    candidate = find_candidate(checkout.workspace, step.build_id)
    assert candidate and planned.recipe
    assert digest_of_tag(engine, f"hallmark/{planned.image.name}:{planned.recipe.version}-cpu") == candidate.digest
    verdict = json.loads((checkout.workspace.run(step.build_id) / "verdict.json").read_bytes())
    assert (verdict["cell"], verdict["verdict"], verdict["digest"]) == (cell, "accepted", candidate.digest)


def test_a_second_run_does_nothing_in_seconds(checkout: Project) -> None:
    runs = sorted(checkout.workspace.runs.glob("*/*"))
    before = {path: path.stat().st_mtime_ns for path in runs if path.name != "verdict.json"}
    started = time.monotonic()
    run = run_verb(ROOT, "publish", "--target", "cpu")
    assert run.returncode == 0, run.stderr
    assert time.monotonic() - started < 20
    assert run.stdout.count("unchanged: ") == len(CELLS)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("cell", CELLS)
def test_an_image_says_what_it_is_and_runs_as_nobody_in_particular(
    checkout: Project, engine: Engine, cell: str
) -> None:
    [planned] = make_plan(checkout.matrix, Selection([cell]))
    base, step = make_steps(checkout.matrix, [planned])
    assert planned.recipe
    image = engine.client.images.get(f"hallmark/{planned.image.name}:{planned.recipe.version}-cpu")
    labels = image.attrs["Config"]["Labels"]
    parent = find_candidate(checkout.workspace, base.build_id)
    assert parent
    assert "io.hallmark.cell" not in labels, "an image is for every target of its compute capability"
    assert labels["io.hallmark.build-id"] == step.build_id
    assert labels["org.opencontainers.image.version"] == planned.recipe.version
    assert labels["org.opencontainers.image.base.digest"] == parent.digest
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(step.epoch))
    assert labels["org.opencontainers.image.created"] == image.attrs["Created"] == created
    assert image.attrs["Config"]["User"] == "1000:1000"


def test_vllm_starts_as_upstream_users_expect(engine: Engine) -> None:
    config = engine.client.images.get("hallmark/vllm:0.28.0-cpu").attrs["Config"]
    assert config["Entrypoint"] == ["vllm", "serve"]
    assert "8000/tcp" in config["ExposedPorts"]
