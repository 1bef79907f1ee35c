"""Two builds of one image: identical, or the differing files are named."""

from __future__ import annotations

from scripts.errors import ExitCode
from scripts.project import Project
from tests.integration.conftest import run_verb


def test_what_comes_out_the_same_again_is_told_from_what_does_not(sandbox: Project) -> None:
    """In one run, for the base image takes the longest, and is built again once for both."""
    dockerfile = sandbox.matrix.images["crash"].folder / "Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(text + "RUN --network=none cat /proc/sys/kernel/random/uuid >/tmp/chance\n")
    try:
        run = run_verb(sandbox.matrix.root, "reproduce", "good-cpu", "crash-cpu")
    finally:
        dockerfile.write_text(text)
    assert run.returncode == ExitCode.REJECTED, run.stdout + run.stderr
    rows = {line.split()[0]: line for line in run.stdout.splitlines() if line.strip()}
    assert "identical" in rows["base"] and "identical" in rows["good-cpu"], run.stdout
    assert "identical" not in rows["crash-cpu"] and "/tmp/chance: content" in run.stdout, run.stdout
