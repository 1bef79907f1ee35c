"""The way to an engine on another machine: a process for each connection, and the docker CLI's words where it fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from scripts.engine.dial import ask_version, connect, environment_of, name_engine
from scripts.errors import ExitCode, Undecided

HOST = "ssh://me@gpubox"


@pytest.mark.parametrize("address", [HOST, "tcp://10.0.0.7:2376", "unix:///run/x.sock"])
def test_an_address_is_a_host_and_anything_else_a_context(address: str) -> None:
    assert name_engine(address) == ["--host", address]
    assert name_engine("gpubox") == ["--context", "gpubox"]


def test_the_users_keys_and_contexts_are_in_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    assert environment_of("/x")["PATH"] == "/x" and environment_of("/x")["SSH_AUTH_SOCK"] == "/run/agent"
    assert environment_of(None)["PATH"] == os.environ["PATH"]


# --- who answers there


def answer(monkeypatch: pytest.MonkeyPatch, stdout: str = "", stderr: str = "", code: int = 0) -> list[Any]:
    asked: list[Any] = []

    def run(command: list[str], **options: Any) -> Any:
        asked.append((command, options))
        return SimpleNamespace(stdout=stdout, stderr=stderr, returncode=code)

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_an_engine_that_answers_says_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, json.dumps({"Version": "28.5.1", "ApiVersion": "1.51"}))
    assert ask_version(HOST, {"PATH": "/x"})["ApiVersion"] == "1.51"
    [(command, options)] = asked
    assert command == ["docker", "--host", HOST, "version", "--format", "{{json .Server}}"]
    assert options["start_new_session"] and options["stdin"] is subprocess.DEVNULL, "ssh asks nobody for a password"


@pytest.mark.parametrize(
    ("stdout", "stderr", "code"),
    [
        ("", "ssh: connect to host gpubox port 22: Connection refused", 1),
        ('{"ApiVersion": "1.51"}', "half an answer", 1),
        ("null", "", 0),
        ("[]", "", 0),
        ("{}", "", 0),
        ('{"ApiVersion": "1.x/../.."}', "", 0),
        ("not JSON", "", 0),
    ],
)
def test_one_that_does_not_leaves_it_open_with_what_the_cli_said(
    stdout: str, stderr: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, stdout, stderr, code)
    with pytest.raises(Undecided, match="no Docker Engine answers there") as caught:
        ask_version(HOST, {})
    [problem] = caught.value.problems
    assert problem.place == HOST and f"docker --host {HOST} version" in problem.next_step
    assert problem.details == ((stderr,) if stderr else ()) and caught.value.exit_code is ExitCode.INCONCLUSIVE


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (subprocess.TimeoutExpired("docker", 60), "does not answer within 60 s"),
        (FileNotFoundError(2, "No such file or directory"), "the docker CLI cannot be run: No such file or directory"),
    ],
)
def test_a_cli_that_hangs_or_is_not_there_leaves_it_open(
    error: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(Undecided, match=why):
        ask_version("gpubox", {})


# --- a connection


class Dialled:
    """Stands in for `docker system dial-stdio`: answers each request on its standard input, `times` times."""

    made: list[Dialled]

    def __init__(self, command: list[str], *, stdin: int, stdout: int, **options: Any) -> None:
        assert stdin == stdout and options["start_new_session"], "Ctrl-C is not for it"
        self.command, self.options = command, options
        self.requests: list[str] = []
        self._socket = socket.socket(fileno=os.dup(stdin))
        self._times = 2
        self.thread = Thread(target=self._serve, daemon=True)
        self.thread.start()
        self.made.append(self)

    def _serve(self) -> None:
        with self._socket as far, far.makefile("rb") as stream:
            for _ in range(self._times):
                lines = [*iter(lambda: stream.readline().strip(), b"")]
                if not lines:
                    break
                self.requests.append(lines[0].decode())
                body = json.dumps({"Name": "gpubox"}).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                far.sendall(head.encode() + body)

    def wait(self, timeout: float | None = None) -> int:
        return 0


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Dialled]:
    Dialled.made = []
    monkeypatch.setattr(subprocess, "Popen", Dialled)
    return Dialled.made


def test_requests_go_through_a_process_and_the_same_one_while_it_lives(dialled: list[Dialled]) -> None:
    client = connect("gpubox", {"PATH": "/x"}, "1.45", 5)
    assert dialled == [], "nothing is sent before it is asked for"
    assert client.info() == client.info() == {"Name": "gpubox"}
    [process] = dialled
    assert process.command == ["docker", "--context", "gpubox", "system", "dial-stdio"]
    assert process.options["env"] == {"PATH": "/x"}
    assert process.requests == ["GET /v1.45/info HTTP/1.1"] * 2
    client.close()


def test_one_that_has_ended_is_replaced(dialled: list[Dialled]) -> None:
    client = connect(HOST, {}, "1.45", 5)
    assert client.info() == client.info() == {"Name": "gpubox"}
    dialled[0].thread.join(10)
    assert client.info() == {"Name": "gpubox"} and len(dialled) == 2
    client.close()


def test_one_that_ends_before_it_has_answered_is_a_lost_connection(
    dialled: list[Dialled], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dialled, "_serve", lambda self: self._socket.close())
    with pytest.raises(requests.ConnectionError):
        connect(HOST, {}, "1.45", 5).info()


def test_a_cli_that_has_gone_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def popen(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory: 'docker'")

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(requests.ConnectionError):
        connect(HOST, {}, "1.45", 5).info()
