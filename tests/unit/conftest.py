"""Unit tests reach no network and start no process: a test that tries fails, and says what it tried."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from scripts import console
from scripts.errors import Problem
from scripts.text import LONGEST_LINE

# A test that takes its time on a busy machine is not wrong.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
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


_SCRIPTS = str(Path(console.__file__).parent) + os.sep
_INIT, _WRITE = Problem.__init__, console._write
_ERRORS = str(Path(console.__file__).with_name("errors.py"))


def find_faults(problem: Problem) -> list[str]:
    """What is wrong with a message: no place, no next step, or a line that cannot be shown as it is."""
    faults = [] if problem.place else ["it names no place"]
    faults += [] if problem.next_step else ["it names no next step"]
    return faults + [fault for line in problem.lines("error: ") for fault in find_faults_of_line(line)]


def find_faults_of_line(line: str) -> list[str]:
    """What keeps a line from being shown as one line."""
    faults = [] if line.isprintable() else ["a letter cannot be printed"]
    faults += [] if len(line) <= LONGEST_LINE else [f"it has {len(line)} characters"]
    return faults + (["it speaks to CI"] if line.lstrip().startswith("::") or "##[" in line else [])


def _is_ours() -> bool:
    """Whether what is made just now is made by the project itself, and not by a test of it."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename in (_ERRORS, "<string>") and frame.f_back:
        frame = frame.f_back
    return frame.f_code.co_filename.startswith(_SCRIPTS)


@contextmanager
def watch_messages() -> Iterator[list[str]]:
    """What is wrong with the problems that the project finds, and with the lines that it prints, while a block runs.

    Of two blocks within each other, the inner one hears of it.
    """
    faults: list[str] = []

    # In place of its __init__: what a dataclass is made without, such as a __post_init__, it never calls.
    def watch_problem(problem: Problem, *arguments: Any, **fields: Any) -> None:
        _INIT(problem, *arguments, **fields)
        if _is_ours():
            faults.extend(f"{problem}: {fault}" for fault in find_faults(problem))

    def watch_line(line: str) -> None:
        faults.extend(f"{line!r}: {fault}" for fault in find_faults_of_line(line))
        _WRITE(line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "__init__", watch_problem)
        patch.setattr(console, "_write", watch_line)
        yield faults


@pytest.fixture(autouse=True)
def _every_message_can_be_shown() -> Iterator[None]:
    """Each problem that a test makes the project find, and each line that it prints, passes one check."""
    with watch_messages() as faults:
        yield
    assert not faults, "\n".join(faults)
