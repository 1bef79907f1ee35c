from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import docker
import pytest
import requests


def connect_a_socket() -> None:
    with socket.socket() as opened:
        opened.connect(("127.0.0.1", 9))


def connect_a_unix_socket() -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.connect("/run/nothing.sock")


@pytest.mark.parametrize(
    ("attempt", "named"),
    [
        (connect_a_socket, r"socket\.connect.*127\.0\.0\.1"),
        (connect_a_unix_socket, r"socket\.connect.*nothing\.sock"),
        (lambda: socket.create_connection(("host.invalid", 80)), r"create_connection.*host\.invalid"),
        (lambda: socket.getaddrinfo("host.invalid", 80), r"getaddrinfo.*host\.invalid"),
        (lambda: requests.get("http://host.invalid/", timeout=1), r"host\.invalid"),
        (lambda: docker.DockerClient("unix:///run/nothing.sock", version="1.44").ping(), r"nothing\.sock"),
    ],
)
def test_the_network_is_out_of_reach(attempt: Callable[[], Any], named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        attempt()


@pytest.mark.parametrize(
    ("attempt", "named"),
    [
        (lambda: subprocess.Popen(["true"]), r"Popen.*true"),
        (lambda: subprocess.run(["true"], check=False), r"Popen.*true"),
        (lambda: subprocess.check_output(["true"]), r"Popen.*true"),
        (lambda: os.popen("true"), r"Popen.*true"),
        (lambda: os.system("true"), r"system.*true"),
        (lambda: os.fork(), r"fork"),
        (lambda: os.execv(sys.executable, ["python"]), r"execv.*python"),
        (lambda: os.spawnv(os.P_WAIT, sys.executable, ["python"]), r"spawnv.*python"),
        (lambda: os.posix_spawn(sys.executable, ["python"], {}), r"posix_spawn.*python"),
    ],
)
def test_no_process_can_be_started(attempt: Callable[[], Any], named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        attempt()
