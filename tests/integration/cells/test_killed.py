"""Killed at any moment, a run goes on with the same command; interrupted, it leaves nothing running behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, has_image, remove_image, tags_of
from scripts.errors import ExitCode
from scripts.project import Project
from tests.integration.conftest import END_S, ROOT, find_candidate, find_step, finish, run_verb, start_verb
from tests.integration.elsewhere import copy_checkout

CELL, TAG = "pytorch-cpu", "hallmark/pytorch:2.13.0-cpu"
AWAITED_S = 120

pytestmark = pytest.mark.usefixtures("stamped")


@pytest.fixture
def fresh(checkout: Project, engine: Engine, tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A checkout and its environment where layers and byte code have to be made anew: a cache with the inputs alone."""
    root = copy_checkout(ROOT, tmp_path / "fresh")
    cache = tmp_path / "cache/hallmark"
    cache.mkdir(parents=True)
    (cache / "sha256").symlink_to(checkout.site.cache / "sha256")
    step = find_step(checkout, CELL).parent
    assert step
    for kind in (checkout.workspace.layouts, checkout.workspace.runs):
        place = root / ".hallmark" / kind.name / step.build_id
        place.parent.mkdir(parents=True)
        subprocess.run(["cp", "-rl", str(kind / step.build_id), str(place)], check=True, timeout=60)
    site = {**engine.environment, "DOCKER_HOST": engine.host, "HALLMARK_ENGINE": "host"}
    yield root, {**site, "XDG_CACHE_HOME": str(cache.parent)}
    for container in engine.client.containers.list(all=True, filters={"label": "io.hallmark.bytecode"}):
        container.remove(force=True)  # of a run that was killed: nobody was left to do it


def stop_at(process: subprocess.Popen[str], number: int, reached: Callable[[], bool]) -> str:
    """Send a signal once a state is reached; what was printed on stderr."""
    deadline = time.monotonic() + AWAITED_S
    try:
        while not reached():
            assert time.monotonic() < deadline, "the awaited state did not come"
            assert process.poll() is None, finish(process, END_S)
            time.sleep(0.02)
        process.send_signal(number)
        return finish(process, END_S)[1]
    finally:
        if process.poll() is None:
            process.kill()
            finish(process, END_S)


def any_of(root: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(True for _ in (root / ".hallmark").glob(pattern))


def bytecode_runs(engine: Engine) -> bool:
    return bool(engine.client.containers.list(filters={"label": "io.hallmark.bytecode"}))


def test_a_run_that_is_killed_again_and_again_is_taken_up_each_time(
    fresh: tuple[Path, dict[str, str]], checkout: Project, engine: Engine
) -> None:
    """In the shell, in byte code, while packing, and while the engine loads; the digest is the first build's."""
    root, environment = fresh
    digest = find_candidate(checkout, CELL).digest
    for reference in [*tags_of(engine, digest), digest]:
        remove_image(engine, reference)
    moments: list[Callable[[], bool]] = [
        any_of(root, "work/*/shell/context/Dockerfile"),
        lambda: bytecode_runs(engine),
        any_of(root, "work/*/press/layer-*/.layer.*"),
        any_of(root, "layouts/" + find_step(checkout, CELL).build_id),
    ]
    for reached in moments:
        process = start_verb(root, "publish", CELL, **environment)
        stop_at(process, signal.SIGKILL, reached)
        assert process.returncode == -signal.SIGKILL
        for container in engine.client.containers.list(filters={"label": "io.hallmark.bytecode"}):
            container.remove(force=True)  # or the next moment would be seen before it has come
    run = run_verb(root, "publish", CELL, **environment)
    assert run.returncode == ExitCode.ACCEPTED, run.stdout + run.stderr
    assert has_image(engine, digest) and digest_of_tag(engine, TAG) == digest


def test_ctrl_c_during_byte_code_leaves_no_container_and_no_work(
    fresh: tuple[Path, dict[str, str]], engine: Engine
) -> None:
    root, environment = fresh
    process = start_verb(root, "build", CELL, **environment)
    errors = stop_at(process, signal.SIGINT, lambda: bytecode_runs(engine))
    assert process.returncode == ExitCode.INTERRUPTED, errors
    assert "interrupted" in errors and "Traceback" not in errors
    assert engine.client.containers.list(all=True, filters={"label": "io.hallmark.bytecode"}) == []
    assert list((root / ".hallmark" / "work").glob("*")) == []
