"""The bake file builds with docker's own tool, from contexts that `fetch --contexts` laid out: base and shells."""

from __future__ import annotations

import json
import subprocess

from scripts.engine import Engine
from scripts.oci.layout import Layout
from scripts.project import Project
from tests.integration.conftest import find_step, run_verb


def test_docker_buildx_bake_builds_what_plan_prints(sandbox: Project, engine: Engine) -> None:
    root = sandbox.matrix.root
    assert run_verb(root, "build", "good-cpu").returncode == 0
    assert run_verb(root, "fetch", "--contexts", "good-cpu").returncode == 0
    bake = run_verb(root, "plan", "--bake", "good-cpu").stdout
    (root / "docker-bake.json").write_text(bake)
    targets = json.loads(bake)["target"]
    assert sorted(targets) == ["base", "good-cpu"]
    # The sandbox's environment is that of the engine.
    command = ["docker", "buildx", "bake", "--file", "docker-bake.json", *targets]
    run = subprocess.run(
        command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    step = find_step(sandbox, "good-cpu")
    base, image = step.parent, Layout.open(sandbox.workspace.layout(step.build_id))
    assert base
    baked = {name: Layout.open(sandbox.workspace.contexts(name) / "layout") for name in targets}
    assert baked["base"].digest == Layout.open(sandbox.workspace.layout(base.build_id)).digest
    # A shell is what our image begins with; it cannot know its parent's digest, which ours has as a label.
    shell = baked["good-cpu"]
    assert image.layers[: len(shell.layers)] == shell.layers != image.layers
    assert shell.read_config()["config"]["User"] == image.read_config()["config"]["User"] == "1000:1000"
