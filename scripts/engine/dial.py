"""The way to an engine on another machine: through the docker CLI, which knows ssh, TLS and contexts.

Each connection is one `docker system dial-stdio`, which hands on bytes between the engine and its own two ends.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import docker
import requests.adapters
import urllib3

from scripts.answers import bounded, bounds_or, watched
from scripts.engine.client import ANSWER
from scripts.errors import Undecided
from scripts.files import parse_json

PROBE_S = 60
END_S = 5
_SAID = 3  # lines of what the CLI said that are shown: the last say what it was


def name_engine(address: str) -> list[str]:
    """The words after `docker` that mean an engine: by its address, or by a context's name."""
    return ["--host", address] if "://" in address else ["--context", address]


def environment_of(path: str | None) -> dict[str, str]:
    """What the CLI is run with: this process's own contexts and keys, and programs found on `path`."""
    return os.environ | ({"PATH": path} if path else {})


def ask_version(address: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What an engine says of its version. Raises Undecided with what the CLI said, where none answers."""
    command = ["docker", *name_engine(address), "version", "--format", "{{json .Server}}"]
    mend = f"see that `docker {' '.join(name_engine(address))} version` answers, without asking for a password"
    try:
        run = subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=PROBE_S,
            start_new_session=True,  # ssh has no terminal to ask on: it fails instead of waiting
        )
    except subprocess.TimeoutExpired as error:
        raise Undecided(f"it does not answer within {PROBE_S} s", address, mend) from error
    except OSError as error:
        raise Undecided(f"the docker CLI cannot be run: {error.strerror}", address, mend) from error
    with suppress(ValueError):
        said = parse_json(run.stdout)
        if run.returncode == 0 and isinstance(said, dict) and re.fullmatch(r"\d+\.\d+", str(said.get("ApiVersion"))):
            return said
    raise Undecided(
        "no Docker Engine answers there",
        address,
        mend,
        [line for line in run.stderr.splitlines() if line.strip()][-_SAID:],
    )


def connect(address: str, environment: Mapping[str, str], api: str, timeout_s: float) -> docker.DockerClient:
    """The SDK's client for an engine that speaks this version of the API. Nothing is sent yet."""
    # With a version given, the client asks for none at once, and its own way to this socket is never gone.
    client = docker.DockerClient(base_url="unix:///dialled", version=api, timeout=int(timeout_s))
    command = ["docker", *name_engine(address), "system", "dial-stdio"]
    client.api.mount("http+docker://", _Adapter(command, environment, timeout_s))
    return client


class _Connection(urllib3.connection.HTTPConnection):
    """A connection whose far end is a process's standard input and output."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._command, self._environment, self._timeout_s = command, environment, timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us: what runs there is still to be removed
            )
        ours.settimeout(self._timeout_s)
        self.sock = ours

    def close(self) -> None:
        super().close()
        process, self._process = self._process, None
        if process:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s, maxsize=10)
        self._dialled = command, environment, timeout_s

    def _new_conn(self) -> _Connection:
        connection: _Connection = watched(_Connection(*self._dialled))
        return connection


class _Adapter(requests.adapters.HTTPAdapter):
    """Sends all requests through one pool of such connections."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> None:
        self._pool = _Pool(command, environment, timeout_s)
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return str(request.path_url)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        with bounded(bounds_or(ANSWER)):
            return super().send(request, *arguments, **options)

    def close(self) -> None:
        super().close()
        self._pool.close()
