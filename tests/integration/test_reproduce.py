"""Two builds of one image: identical, or the differing files are named."""

from __future__ import annotations

from scripts.errors import ExitCode
from scripts.project import Project
from tests.integration.conftest import run_verb


def test_base_and_a_cell_come_out_the_same_again(sandbox: Project) -> None:
    run = run_verb(sandbox.matrix.root, "reproduce", "good-cpu")
    assert run.returncode == ExitCode.ACCEPTED, run.stdout + run.stderr
    assert run.stdout.count("identical") == 2


def test_a_build_that_is_not_reproducible_is_found_out(sandbox: Project) -> None:
    dockerfile = sandbox.matrix.images["good"].folder / "Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(text + "RUN --network=none cat /proc/sys/kernel/random/uuid >/tmp/chance\n")
    try:
        run = run_verb(sandbox.matrix.root, "reproduce", "good-cpu")
    finally:
        dockerfile.write_text(text)
    assert run.returncode == ExitCode.REJECTED, run.stderr
    assert "/tmp/chance: content" in run.stdout
