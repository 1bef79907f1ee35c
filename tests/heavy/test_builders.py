"""Two real builders: the checkout's engine, and another engine that is reached as builders elsewhere are."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.buildkit.build import Build, run_build
from scripts.buildkit.builder import EngineBuilder
from scripts.buildkit.pool import BuilderPool
from scripts.engine import Embedded, Engine
from scripts.oci.layout import Layout
from scripts.project import Project
from tests.integration.conftest import engine_beside

FAR = "far"


@dataclass(frozen=True)
class Watched(EngineBuilder):
    """Notes what it runs."""

    ran: list[Sequence[str]] = field(default_factory=list)

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
        self.ran.append(arguments)
        return super().run(arguments, on_line)


class Gate:
    """A socket on which the BuildKit inside an engine answers as a buildkitd does: buildx knows it as `remote`."""

    def __init__(self, path: Path, engine: Path) -> None:
        self._engine = engine
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as engine, contextlib.suppress(OSError):
            engine.connect(str(self._engine))
            engine.sendall(b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += engine.recv(1) or b"\r\n\r\n"
            back = threading.Thread(target=_hand_on, args=(engine, client), daemon=True)
            back.start()
            _hand_on(client, engine)
            back.join()


def _hand_on(source: socket.socket, destination: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            destination.sendall(data)
    with contextlib.suppress(OSError):
        destination.shutdown(socket.SHUT_WR)


@pytest.fixture
def second(checkout: Project, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Embedded]:
    """Another embedded engine, from the packages that are unpacked already, as the builder `far`."""
    embedded, packages = engine_beside(checkout, tmp_path / "engine")
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "buildx"))
    gate = None
    try:
        embedded.up(packages, lambda: [])
        address = embedded.run / "buildkitd.sock"
        gate = Gate(address, embedded.socket)
        EngineBuilder(engine, FAR)._engine.query(
            ["buildx", "create", "--name", FAR, "--driver", "remote", f"unix://{address}"]
        )
        yield embedded
    finally:
        if gate:
            gate.close()
        embedded.down()
        # One that was killed leaves its data folder mounted on itself.
        subprocess.run(["umount", "--lazy", str(embedded.folder / "data")], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(embedded.run, ignore_errors=True)


def build(pool: BuilderPool, folder: Path) -> str:
    """Build an image of one file; returns its digest."""
    context = folder / "context"
    context.mkdir(parents=True)
    (context / "Dockerfile").write_text("FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY --chmod=644 file /\n")
    (context / "file").write_text("x" * 1_000_000)
    made = folder / "layout"
    asked = Build(context, {}, {"SOURCE_DATE_EPOCH": "1700000000"}, {}, made, cached=False)
    run_build(pool, asked, folder / "build.log", lambda text: None)
    layout = Layout.open(made)
    layout.verify()
    return layout.digest


def test_builds_side_by_side_go_to_both_and_come_out_the_same(engine: Engine, second: Embedded, tmp_path: Path) -> None:
    builders = [Watched(engine), Watched(engine, FAR)]
    assert all(builder.answers() for builder in builders)
    pool = BuilderPool(builders)
    with ThreadPoolExecutor(2) as threads:
        digests = list(threads.map(lambda name: build(pool, tmp_path / name), "ab"))
    assert [len(builder.ran) for builder in builders] == [1, 1]
    assert digests[0] == digests[1]


def test_a_build_goes_on_elsewhere_when_its_engine_is_killed(engine: Engine, second: Embedded, tmp_path: Path) -> None:
    far, near = Watched(engine, FAR), Watched(engine)
    pool = BuilderPool([far, near])
    os.kill(int((second.run / "docker.pid").read_text()), signal.SIGKILL)
    assert build(pool, tmp_path / "a").startswith("sha256:")
    assert build(pool, tmp_path / "b").startswith("sha256:")
    assert [len(far.ran), len(near.ran)] == [1, 2]
    assert (tmp_path / "a/build.2.log").exists() and not far.answers()
