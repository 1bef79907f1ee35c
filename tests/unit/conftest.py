"""Unit tests reach no network and start no process: a test that tries fails, and says what it tried."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_NETWORK = ("connect", "connect_ex", "sendto", "bind")
_PROCESSES = [
    name
    for name in dir(os)
    if name in ("fork", "forkpty", "system") or name.startswith(("exec", "spawn", "posix_spawn"))
]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Collect `build`, too: by default pytest takes a folder of that name for a product, and skips it in silence."""
    return False if collection_path == Path(__file__).with_name("build") else None


def _refuse(what: str, *, method: bool = False) -> Callable[..., Any]:
    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"a unit test called {what}{arguments[method:]!r}")

    return refuse


@pytest.fixture(scope="session", autouse=True)
def _no_network_and_no_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in _NETWORK:
            patch.setattr(socket.socket, name, _refuse(f"socket.{name}", method=True))
        for name in ("create_connection", "getaddrinfo"):
            patch.setattr(socket, name, _refuse(f"socket.{name}"))
        patch.setattr(subprocess.Popen, "__init__", _refuse("subprocess.Popen", method=True))
        for name in _PROCESSES:
            patch.setattr(os, name, _refuse(f"os.{name}"))
        patch.setattr(os, "fsync", lambda handle: None)  # no test outlives a power cut, and a busy disk takes seconds
        yield
