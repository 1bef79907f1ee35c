"""A stamped image is served and asked from here, on an engine whose containers are in a network of their own."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.engine import Engine
from scripts.project import Project
from scripts.serve.container import name_container
from tests.integration.conftest import finish, run_verb, start_verb

CELL = "served-cpu"
WITHIN_S = 60
VOLUMES = (f"hallmark-compiled-{CELL}", "hallmark-models")


@pytest.fixture(scope="module")
def served(sandbox: Project, engine: Engine) -> Iterator[Project]:
    """The sandbox with a server's image that is accepted; the volumes that serving makes go afterwards."""
    ended = run_verb(sandbox.matrix.root, "publish", CELL)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    before = {volume.name for volume in engine.client.volumes.list()}
    yield sandbox
    for volume in engine.client.volumes.list():
        if volume.name in VOLUMES and volume.name not in before:
            volume.remove()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir(mode=0o755)
    (folder / "config.json").write_text('{"tiny": true}')
    return folder


@pytest.fixture
def port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(project: Project, model: Path, port: int, *arguments: str) -> subprocess.Popen[str]:
    """`serve`, once it says how to ask the server."""
    process = start_verb(project.matrix.root, "serve", CELL, str(model), "--port", str(port), *arguments)
    assert process.stdout
    line = process.stdout.readline()
    if not line.startswith(f"curl http://127.0.0.1:{port}/v1/"):
        process.send_signal(signal.SIGTERM)
        pytest.fail(f"{line}{finish(process, WITHIN_S)}")
    return process


def ask(port: int, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    connection.request("POST" if body is not None else "GET", path, body)
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read()


def look(port: int) -> dict[str, Any]:
    """What the server sees around it."""
    return dict(json.loads(ask(port, "/around")))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def is_gone(engine: Engine, port: int) -> bool:
    return name_container(port) not in {each.name for each in engine.client.containers.list(all=True)}


def test_a_server_is_asked_from_here_until_ctrl_c(served: Project, engine: Engine, model: Path, port: int) -> None:
    process = start(served, model, port, "--env", "GIVEN=value", "--", "--greeting", "good day")
    around = look(port)
    # It has its model, for reading, what it keeps, for writing, and no network but itself.
    assert (around["model"], around["config"], around["writable"]) == ("tiny", {"tiny": True}, False)
    assert (around["interfaces"], around["user"], around["models"]) == (["lo"], 1000, True)
    assert (around["greeting"], around["variable"]) == ("good day", "value")
    # Pieces come when they are sent, not in one at the end.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    connection.request("POST", "/pieces", b"")
    answer = connection.getresponse()
    times = []
    for number in range(5):
        assert answer.readline() == b"data: %d\n" % number and answer.readline() == b"\n"
        times.append(time.monotonic())
    assert answer.read() == b"" and times[-1] - times[0] > 0.9
    # Large bodies arrive whole, both ways.
    assert ask(port, "/length", b"y" * 30_000_000) == b"30000000"
    assert ask(port, "/long", b"30000000") == b"x" * 30_000_000
    # A client that goes away in the middle of an answer is noticed by the server.
    connection.request("POST", "/endless", b"")
    assert connection.getresponse().readline() == b"data: 0\n"
    connection.close()
    deadline = time.monotonic() + WITHIN_S
    while not look(port)["lost"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    # An answer that is under way when Ctrl-C comes is given whole.
    connection.request("POST", "/pieces", b"")
    answer = connection.getresponse()
    assert answer.readline() == b"data: 0\n"
    idle = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    idle.connect()
    process.send_signal(signal.SIGINT)
    assert answer.read().endswith(b"data: 4\n\n")
    _, said = finish(process, WITHIN_S)
    assert process.returncode == 0, said
    assert "stopping" in said and "Traceback" not in said and is_free(port) and is_gone(engine, port)
    # What it keeps is there at the next start.
    again = start(served, model, port)
    assert look(port)["starts"] == around["starts"] + 1
    again.send_signal(signal.SIGTERM)
    finish(again, WITHIN_S)
    assert again.returncode == 0 and is_free(port) and is_gone(engine, port)


def test_what_a_killed_run_left_is_removed_by_the_next(served: Project, engine: Engine, model: Path, port: int) -> None:
    process = start(served, model, port)
    process.kill()
    process.communicate(timeout=WITHIN_S)
    assert is_free(port) and not is_gone(engine, port)
    again = start(served, model, port)
    again.send_signal(signal.SIGINT)
    _, said = finish(again, WITHIN_S)
    assert again.returncode == 0 and is_gone(engine, port), said


def test_a_port_that_is_taken_starts_nothing(served: Project, engine: Engine, model: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        ended = run_verb(served.matrix.root, "serve", CELL, str(model), "--port", str(port))
    assert ended.returncode == 2 and "choose another port" in ended.stderr and is_gone(engine, port)


def test_a_server_that_ends_by_itself_is_shown_with_its_last_words(
    served: Project, engine: Engine, model: Path, port: int
) -> None:
    ended = run_verb(served.matrix.root, "serve", CELL, str(model), "--port", str(port), "--", "--fail")
    assert ended.returncode == 3 and "exit code 1\n    no kernel image is available" in ended.stderr
    assert is_free(port) and is_gone(engine, port)


def test_without_a_stamp_nothing_is_served_unless_it_is_said(served: Project, model: Path, port: int) -> None:
    refused = run_verb(served.matrix.root, "serve", "crash-cpu", str(model), "--port", str(port))
    assert refused.returncode == 2 and "so it has no stamp" in refused.stderr and "--candidate" in refused.stderr
    process = start(served, model, port, "--candidate")
    process.send_signal(signal.SIGINT)
    assert "NO STAMP IS ASKED FOR" in finish(process, WITHIN_S)[1]
