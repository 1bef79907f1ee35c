"""The bake file builds with docker's own tool, from contexts that `fetch --contexts` laid out."""

from __future__ import annotations

import subprocess

from scripts.engine import Engine
from scripts.project import Project
from tests.integration.conftest import run_verb


def test_docker_buildx_bake_builds_what_plan_prints(sandbox: Project, engine: Engine) -> None:
    root = sandbox.matrix.root
    assert run_verb(root, "fetch", "--contexts", "good-cpu").returncode == 0
    (root / "docker-bake.json").write_text(run_verb(root, "plan", "--bake", "good-cpu").stdout)
    # The sandbox's environment is that of the engine; cells without an output of their own prove as much, sooner.
    command = ["docker", "buildx", "bake", "--file", "docker-bake.json", "--set", "*.output=type=cacheonly"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stderr
    assert "install-wheels" in run.stderr
