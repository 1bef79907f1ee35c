"""Debian's docker-registry, from the packages of the embedded engine: tests and benchmarks push to it."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.engine import Embedded
from scripts.lock import read_slot, tools_slot
from scripts.project import Project


@contextmanager
def serve_registry(project: Project, folder: Path, *, deletes: bool = False) -> Iterator[str]:
    """Debian's docker-registry, which by itself deletes nothing, with its files in a folder; yields host:port."""
    packages = [file for file in read_slot(project.matrix.root, tools_slot(project.matrix)).files if file.kind == "deb"]
    program = Embedded(project.workspace.engine).programs(packages) / "usr/bin/docker-registry"
    port = find_port()
    folder.mkdir(exist_ok=True)
    config = folder / "registry.yml"
    storage = f"filesystem: {{rootdirectory: {folder}/store}}, delete: {{enabled: {str(deletes).lower()}}}"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{{storage}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    # It holds no pipe of whoever runs the tests, and ends with them: nobody who waits for their output waits for it.
    process = subprocess.Popen(
        [str(program), "serve", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=end_with_parent,
    )
    try:
        await_port(port, 10)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


def find_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, within_s: float) -> None:
    """Return once something listens on a port of 127.0.0.1, or when the time is over."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)


def end_with_parent() -> None:
    """What a child runs before its program, so that it ends with whoever started it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
