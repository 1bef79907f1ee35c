"""The README's promise on the real cells: built, smoke-tested and tagged; and then nothing to do."""

from __future__ import annotations

import json
import time

import pytest

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag
from scripts.pipeline.candidate import read_candidate
from scripts.plan import Selection, make_plan
from scripts.project import Project
from tests.integration.conftest import ROOT, find_candidate, find_step, run_verb

CELLS = ["pytorch-cpu", "vllm-cpu"]
pytestmark = pytest.mark.usefixtures("stamped")


@pytest.mark.parametrize("cell", CELLS)
def test_both_cells_are_accepted_and_tagged(checkout: Project, engine: Engine, cell: str) -> None:
    [planned] = make_plan(checkout.matrix, Selection([cell]))
    step, candidate = find_step(checkout, cell), find_candidate(checkout, cell)
    assert planned.recipe
    assert digest_of_tag(engine, f"hallmark/{planned.image.name}:{planned.recipe.version}-cpu") == candidate.digest
    verdict = json.loads((checkout.workspace.run(step.build_id) / cell / "verdict.json").read_bytes())
    assert (verdict["cell"], verdict["verdict"], verdict["digest"]) == (cell, "accepted", candidate.digest)


def test_a_second_run_does_nothing_in_seconds(checkout: Project) -> None:
    runs = sorted(path for path in checkout.workspace.runs.rglob("*") if path.is_file())
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
    step = find_step(checkout, cell)
    assert planned.recipe and step.parent
    image = engine.client.images.get(f"hallmark/{planned.image.name}:{planned.recipe.version}-cpu")
    labels = image.attrs["Config"]["Labels"]
    parent = read_candidate(checkout.workspace, step.parent.build_id)
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


def test_an_image_of_many_layers_is_unpacked_by_the_engine(checkout: Project, engine: Engine) -> None:
    """Overlay file systems hold 127; each large distribution takes one, and the engine has run an image of them all."""
    step, candidate = find_step(checkout, "vllm-cpu"), find_candidate(checkout, "vllm-cpu")
    layers = engine.client.images.get(candidate.digest).attrs["RootFS"]["Layers"]
    large = [file for file in step.wheels if file.size > 30_000_000]
    assert len(large) + 2 < len(layers) < 127
