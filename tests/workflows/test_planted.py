"""Mistakes in workflows, planted one by one: each makes a job red, or is refused before it runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.workflows.conftest import CPU, GPU, Make
from tests.workflows.expressions import Unknown
from tests.workflows.machine import World
from tests.workflows.runner import WORKFLOWS, Event, Refused, Runner

Before = Callable[[World, Any], None]


def nothing(world: World, cell: Any) -> None:
    """The job is the first."""


def pushed(world: World, cell: Any) -> None:
    """A candidate is in the registry."""
    (world.folder / "registry").mkdir()
    (world.folder / "registry" / cell["digest"]).write_text("")


def shown(world: World, cell: Any) -> None:
    """It was tested as well, and what was kept of that lies in the store."""
    pushed(world, cell)
    for name, place, files in (
        (f"candidate-{cell['candidate']}", cell["build"], cell["built"]),
        (f"evidence-{cell['id']}", f"{cell['build']}/{cell['id']}", cell["shown"]["0"]),
    ):
        for file, text in files.items():
            path = world.folder / "artifacts" / name / place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def locked(world: World, cell: Any) -> None:
    """Locks were resolved anew."""
    folder = world.folder / "artifacts/locks"
    shutil.copytree(WORKFLOWS.parents[1] / "images", folder / "images", ignore=shutil.ignore_patterns("*.py", "*.md"))
    (folder / "matrix.lock").write_text("# new\n")


# Of each workflow the job that is run alone: what comes before it, and the cell that it is about.
JOBS: dict[tuple[str, str], tuple[Before, str]] = {
    ("build.yml", "plan"): (nothing, CPU),
    ("build.yml", "build"): (nothing, CPU),
    ("build.yml", "draw"): (shown, GPU),
    ("verify.yml", "cell"): (pushed, CPU),
    ("build.yml", "promote"): (shown, GPU),
    ("build.yml", "promote-keyless"): (shown, GPU),
    ("update-lock.yml", "propose"): (locked, CPU),
}


def run_one(make_world: Make, cells: Any, name: str, key: str, old: str = "", new: str = "") -> tuple[str, str]:
    """Run one job of a workflow in which a text was replaced; how it ended, and what was said."""
    text = (WORKFLOWS / name).read_text("utf-8")
    assert old in text, f"{name} has no {old!r}"
    workflow = YAML(typ="safe").load(text.replace(old, new) if old else text)
    workflow["jobs"] = {key: workflow["jobs"][key]}
    prepare, cell_id = JOBS[name, key]
    world, cell = make_world(), cells[cell_id]
    prepare(world, cell)
    fields = ("id", "candidate", "image", "build", "digest")
    row = {**{field: cell[field] for field in fields}, "cell": cell_id, "runner": "ubuntu-24.04", "compiles": False}
    rows = json.dumps({"include": [row]})
    done = {
        each: {"result": "success", "outputs": {"rows": rows}}
        for each in ("plan", "draw", "redraw", "again", "verify", "lock", "build")
    }
    done.pop(key, None)
    variables = {"GPU_TARGETS": '["h200"]'}
    secrets = {"HALLMARK_SIGNING_KEY": "the key"}
    if key == "promote-keyless":
        variables, secrets = {**variables, "HALLMARK_SIGNING": "keyless"}, {}
    runner = Runner(world, Event(variables=variables, secrets=secrets), {name: workflow})
    result = runner.run(name, {"rows": rows} if name == "verify.yml" else None, done=done)
    said = "".join(job.said for job in runner.runs)
    if result == "success" and any(job.result == "failure" for job in runner.runs):
        result = "failure"  # of a job that does not end the run
    return result, said


@pytest.mark.parametrize(("name", "key"), list(JOBS))
def test_as_it_is_each_job_runs_alone(name: str, key: str, make_world: Make, cells: Any) -> None:
    result, said = run_one(make_world, cells, name, key)
    assert result == "success", said


@pytest.mark.parametrize(
    ("name", "key", "old", "new", "said"),
    [
        pytest.param("build.yml", "plan", "--gpus", "--graphics", "unrecognized arguments", id="wrong option"),
        pytest.param("build.yml", "plan", "matrix build", "matrix bild", "invalid choice", id="wrong word"),
        pytest.param("build.yml", "plan", '--only "$CELLS"', "--only $CELLS", "", id="unquoted pattern"),
        pytest.param("build.yml", "plan", '"$CELLS" >>"$GITHUB_OUTPUT"', '"$CELLS"', "rows", id="missing output"),
        pytest.param("build.yml", "plan", "id: plan", "id: planned", "steps.plan", id="wrong step"),
        pytest.param(
            "build.yml", "plan", "${{ vars.GPU_TARGETS }}", "${{ vars.GPUS }}", "vars.GPUS", id="wrong variable"
        ),
        pytest.param("build.yml", "build", "docker login", "docker logon", "what is this?", id="wrong command"),
        pytest.param("build.yml", "build", '<<<"$TOKEN"', "</dev/null", "does not come", id="no token"),
        pytest.param(
            "build.yml",
            "build",
            "=DOCKER_CONFIG,HALLMARK_MIRRORS,HALLMARK_R",
            "=HALLMARK_R",
            "cannot be pushed",
            id="not handed on",
        ),
        pytest.param(
            "build.yml", "build", "hallmark/runs/${{", "hallmark/run/${{", "no files were found", id="wrong folder"
        ),
        pytest.param("build.yml", "build", "OWNER,,}", "OWNER}", "is no registry", id="capitals"),
        pytest.param(
            "build.yml", "draw", "pattern: candidate-*", "name: candidates", "no artifact", id="wrong artifact"
        ),
        pytest.param("verify.yml", "cell", '"$DIGEST" --from', '"$DIGETS" --from', "DIGETS", id="misspelt variable"),
        pytest.param("verify.yml", "cell", "hallmark/$IMAGE@", "$IMAGE@", "cannot be pulled", id="wrong name"),
        pytest.param("verify.yml", "cell", "trap ", ": ", "could reach", id="credentials stay"),
        pytest.param(
            "verify.yml",
            "cell",
            "sudo --preserve-env=HALLMARK_MIRRORS,G",
            "sudo -E --preserve-env=G",
            "what is -E",
            id="whole environment",
        ),
        pytest.param(
            "build.yml", "promote", '"$RUNNER_TEMP/evidence"', "$RUNNER_TEMP/evidence", "", id="unquoted folder"
        ),
        pytest.param(
            "build.yml",
            "promote",
            "name: candidate-${{ matrix.candidate }}\n          path: ${{ runner.temp }}/e",
            "name: candidate-${{ matrix.id }}\n          path: ${{ runner.temp }}/e",
            "no artifact",
            id="wrong candidate",
        ),
        pytest.param(
            "build.yml",
            "promote",
            '"$DIGEST" --evidence',
            '"$DIGEST" --from',
            "not allowed|no evidence",
            id="another option",
        ),
        pytest.param(
            "build.yml",
            "promote",
            "export HALLMARK_SIGNING_KEY=",
            "export HALLMARK_SIGNING_KEYS=",
            "unknown variable",
            id="unknown variable",
        ),
        pytest.param("build.yml", "promote-keyless", "id-token: write", "id-token: read", "not who may", id="nobody"),
        pytest.param("build.yml", "promote-keyless", ".[keyless]", ".", "not installed", id="without the library"),
        pytest.param("build.yml", "promote-keyless", ".HALLMARK_SIGNING }}", ".HALLMARK_SIGNIN }}", "SIGNIN", id=""),
        pytest.param(
            "build.yml",
            "promote",
            "packages: write # attaches the evidence, and sets the tags\n    env",
            "packages: write\n      id-token: write\n    env",
            "not who may",
            id="an identity beside a key",
        ),
        pytest.param(
            "update-lock.yml",
            "propose",
            "HEAD:refs/heads/update-lock",
            "HEAD:refs/heads/main",
            "not this push",
            id="push to main",
        ),
        pytest.param(
            "build.yml",
            "build",
            "actions/upload-artifact@",
            "actions/upload-artefact@",
            "upload-artefact",
            id="unknown action",
        ),
        pytest.param("build.yml", "draw", "merge-multiple", "merge-many", "merge-many", id="unknown input"),
        pytest.param("build.yml", "draw", "!cancelled()", "!canceled()", "canceled", id="unknown function"),
        pytest.param("build.yml", "promote", "max-parallel", "most-parallel", "most-parallel", id="unknown key"),
    ],
)
def test_a_mistake_is_red(name: str, key: str, old: str, new: str, said: str, make_world: Make, cells: Any) -> None:
    try:
        result, told = run_one(make_world, cells, name, key, old, new)
    except (Unknown, Refused) as error:
        result, told = "refused", str(error)
    assert result in ("failure", "refused"), told
    assert any(each in told for each in said.split("|")), told


def test_evidence_of_another_outcome_is_not_promoted(make_world: Make, cells: Any) -> None:
    def rejected(world: World, cell: Any) -> None:
        shown(world, cell)
        for name, text in cell["shown"]["1"].items():
            Path(world.folder / f"artifacts/evidence-{cell['id']}/{cell['build']}/{cell['id']}/{name}").write_text(text)

    before = JOBS["build.yml", "promote"]
    JOBS["build.yml", "promote"] = (rejected, GPU)
    try:
        assert run_one(make_world, cells, "build.yml", "promote")[0] == "failure"
    finally:
        JOBS["build.yml", "promote"] = before
