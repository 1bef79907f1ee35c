"""What the engine makes of a sandbox: the isolation that was asked for, lines while they come, and nothing left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag
from scripts.engine.sandbox import Ending, Mount, Request, open_sandbox
from scripts.project import Project
from tests.integration.conftest import run_verb

LABEL = "io.hallmark.test"


@pytest.fixture(scope="module")
def image(sandbox: Project, engine: Engine) -> str:
    """The digest of an image with a shell and a Python."""
    run = run_verb(sandbox.matrix.root, "publish", "good-cpu")
    assert run.returncode == 0, run.stdout + run.stderr
    return digest_of_tag(engine, "hallmark/good:1.0-cpu")


def run(
    engine: Engine, image: str, script: str, on_line: Callable[[bytes], None] | None = None, **changes: object
) -> Ending:
    request = Request(image, ("/bin/sh", "-c", script), LABEL, memory=64 << 20, timeout_s=60)
    with open_sandbox(engine, dataclasses.replace(request, **changes)) as sandbox:  # type: ignore[arg-type]
        ending = sandbox.run(on_line)
    assert engine.client.containers.list(all=True, filters={"label": LABEL}) == []
    return ending


def test_it_has_no_network_no_rights_and_no_place_to_write(engine: Engine, image: str) -> None:
    ending = run(engine, image, "ls /sys/class/net; id -u; cat /proc/self/status; touch /made || touch /tmp/made")
    lines = ending.stdout.decode().splitlines()
    assert lines[:2] == ["lo", "65534"]
    status = dict(line.split(":\t", 1) for line in lines[2:] if ":\t" in line)
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert ending.exit_code == 1 and ending.stderr.count(b"Read-only file system") == 2


def test_it_may_write_where_that_was_asked_for(engine: Engine, image: str, tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    mounts = (Mount(tmp_path / "in", "/in"), Mount(tmp_path / "out", "/out", writable=True))
    script = "touch /out/made /tmp/made && ! touch /in/made"
    assert run(engine, image, script, mounts=mounts, tmpfs={"/tmp": 1 << 20}).succeeded
    assert [path.name for path in tmp_path.rglob("made")] == ["made"]


def test_lines_come_while_it_runs(engine: Engine, image: str) -> None:
    came: list[tuple[bytes, float]] = []

    def note(line: bytes) -> None:
        came.append((line, time.monotonic()))

    ending = run(engine, image, "echo one; sleep 3; echo two; echo log >&2; printf three", note)
    ended = time.monotonic()
    assert [line for line, _ in came] == [b"one", b"two", b"three"]
    assert ended - came[0][1] > 2
    assert (ending.stdout, ending.stderr) == (b"one\ntwo\nthree", b"log\n")


@pytest.mark.parametrize("follow", [True, False])
def test_it_ends_when_its_time_is_over(engine: Engine, image: str, follow: bool) -> None:
    lines: list[bytes] = []
    ending = run(engine, image, "echo one; sleep 600", lines.append if follow else None, timeout_s=2)
    assert ending.timed_out and not ending.succeeded and ending.seconds < 30
    assert ending.stdout == b"one\n" and lines == ([b"one"] if follow else [])


def test_what_prints_without_end_is_ended_too(engine: Engine, image: str) -> None:
    ending = run(engine, image, "while :; do echo x; done", lambda line: None, timeout_s=2, log_size=1 << 20)
    assert ending.timed_out and ending.seconds < 30
    assert len(ending.stdout) < 2 << 20


def test_a_child_killed_for_memory_is_seen_though_the_exit_code_is_0(engine: Engine, image: str) -> None:
    ending = run(engine, image, "( held=$(head -c 200000000 /dev/urandom | od -x) ); exit 0")
    assert (ending.exit_code, ending.oom, ending.succeeded) == (0, True, False)
