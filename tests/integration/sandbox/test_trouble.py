"""Interruptions, full disks and wrong input on the command line: one message, the right exit code, nothing left."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.engine import Embedded, Engine
from scripts.errors import ExitCode
from scripts.project import Project
from tests.integration.conftest import END_S, ROOT, finish, run_verb, start_verb


def test_ctrl_c_during_a_smoke_test_leaves_nothing_half_done(sandbox: Project, engine: Engine) -> None:
    assert run_verb(sandbox.matrix.root, "build", "hang-cpu").returncode == 0
    smoke_toml = sandbox.matrix.images["hang"].folder / "image.toml"
    text = smoke_toml.read_text()
    smoke_toml.write_text(text.replace("timeout_s = 5", "timeout_s = 600"))
    try:
        process = start_verb(sandbox.matrix.root, "publish", "hang-cpu")
        errors = _interrupt_once(process, lambda: bool(engine.client.containers.list()))
    finally:
        smoke_toml.write_text(text)
    assert process.returncode == ExitCode.INTERRUPTED, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert engine.client.containers.list(all=True) == []


def test_ctrl_c_during_a_build_leaves_no_layout(sandbox: Project, engine: Engine) -> None:
    dockerfile = sandbox.matrix.images["good"].folder / "Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(text + "RUN --network=none sleep 600\n")
    before = sorted(sandbox.workspace.layouts.iterdir())
    try:
        process = start_verb(sandbox.matrix.root, "build", "good-cpu")
        logs = sandbox.workspace.runs
        errors = _interrupt_once(
            process, lambda: any("RUN --network=none sleep" in p.read_text() for p in logs.glob("*/build.log"))
        )
    finally:
        dockerfile.write_text(text)
    assert process.returncode == ExitCode.INTERRUPTED, errors
    assert "Traceback" not in errors
    assert sorted(sandbox.workspace.layouts.iterdir()) == before


def test_a_failing_build_says_where_and_exits_with_4(sandbox: Project) -> None:
    dockerfile = sandbox.matrix.images["good"].folder / "Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(text + "RUN --network=none false\n")
    try:
        run = run_verb(sandbox.matrix.root, "publish", "good-cpu")
    finally:
        dockerfile.write_text(text)
    assert run.returncode == ExitCode.BUILD_FAILED
    assert "build.log" in run.stdout


def test_no_step_of_a_build_reaches_a_network(sandbox: Project) -> None:
    dockerfile = sandbox.matrix.images["good"].folder / "Dockerfile"
    text = dockerfile.read_text()
    # An interface other than loopback would be a way out; a RUN that asks for one is refused or finds none.
    dockerfile.write_text(text + 'RUN [ "$(ls /sys/class/net)" = lo ]\n')
    try:
        assert run_verb(sandbox.matrix.root, "build", "good-cpu").returncode == 0
    finally:
        dockerfile.write_text(text)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_too_small_for_the_downloads_is_noticed_first(tiny_disk: Path) -> None:
    run = run_verb(ROOT, "fetch", "pytorch-cpu", XDG_CACHE_HOME=str(tiny_disk))
    assert run.returncode == ExitCode.INCONCLUSIVE
    assert "are free" in run.stderr
    assert "Traceback" not in run.stderr
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == []


def test_a_disk_too_small_for_the_build_is_noticed_first(sandbox: Project, tiny_disk: Path) -> None:
    for name in ("matrix.toml", "matrix.lock", "images"):
        (tiny_disk / name).symlink_to(sandbox.matrix.root / name)
    run = run_verb(tiny_disk, "build", "good-cpu")
    assert run.returncode == ExitCode.INCONCLUSIVE
    assert "are free" in run.stdout
    assert not list(tiny_disk.glob(".hallmark/layouts/*"))


def test_a_name_without_a_cell_is_refused_with_exit_2() -> None:
    run = run_verb(ROOT, "publish", "nothing-*")
    assert run.returncode == ExitCode.USAGE
    assert "no cell matches" in run.stderr
    assert "next:" in run.stderr


def test_an_embedded_engine_starts_beside_another_and_stops_without_a_trace(checkout: Project, tmp_path: Path) -> None:
    (tmp_path / ".hallmark").mkdir()
    for name in ("matrix.toml", "matrix.lock", "images"):
        (tmp_path / name).symlink_to(ROOT / name)
    up = run_verb(tmp_path, "engine", "up", HALLMARK_ENGINE="embedded")
    assert up.returncode == 0, up.stderr
    own = Embedded(tmp_path / ".hallmark/engine")
    assert own.is_running
    assert run_verb(tmp_path, "engine", "down", HALLMARK_ENGINE="embedded").returncode == 0
    assert not own.is_running
    assert not own.run.exists()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert Embedded(checkout.workspace.engine).is_running


def _interrupt_once(process: subprocess.Popen[str], condition: Callable[[], bool]) -> str:
    """Send Ctrl-C once the condition holds; what the process then printed on stderr."""
    deadline = time.monotonic() + 60
    try:
        while not condition():
            assert time.monotonic() < deadline, "the awaited state did not come"
            assert process.poll() is None, finish(process, END_S)
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        return finish(process, END_S)[1]
    finally:
        if process.poll() is None:
            process.kill()
            finish(process, END_S)
