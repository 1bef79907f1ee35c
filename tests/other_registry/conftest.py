"""The fixtures of the integration tests, and another registry beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import MSG_PEEK, SHUT_WR, create_connection, socket
from threading import Thread

import pytest

from scripts.engine import Engine
from tests.engine_ports import listen_inside
from tests.integration.conftest import TEST_S, checkout, engine
from tests.integration.sandbox.conftest import sandbox
from tests.other_registry.pulp import PASSWORD, USER, Pulp, serve_pulp

__all__ = ["checkout", "engine", "sandbox"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_S))


@pytest.fixture(scope="session")
def pulp(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulp]:
    """The registry, which the engine finds at the same place as everybody else."""
    with serve_pulp(tmp_path_factory.mktemp("pulp")) as served, ExitStack() as stack:
        for port in (served.port, served.blobs):
            if listener := stack.enter_context(listen_inside(engine, port)):
                Thread(target=_stand_before, args=(listener, port), daemon=True).start()
        yield served


def _stand_before(listener: socket, port: int) -> None:
    """Carry connections to a port, as the web server does that stands before Pulp where people run it.

    The engine tries TLS first, and plain HTTP only where that is answered at once: Pulp's own server waits for a line.
    """
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            if near.recv(1, MSG_PEEK) == b"\x16":  # how TLS begins
                near.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                near.close()
                continue
            far = create_connection(("127.0.0.1", port))
            for pair in ((near, far), (far, near)):
                Thread(target=_carry, args=pair, daemon=True).start()


def _carry(source: socket, target: socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(SHUT_WR)


@pytest.fixture
def login(engine: Engine, sandbox: object, pulp: Pulp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration, in which somebody has logged in there; the verbs find it as they do a person's."""
    folder = tmp_path / "docker"
    folder.mkdir()
    if own := engine.environment.get("DOCKER_CONFIG"):  # an embedded engine's, where its programs find buildx
        (folder / "cli-plugins").symlink_to(Path(own) / "cli-plugins")
    engine.query(["--config", str(folder), "login", "--username", USER, "--password", PASSWORD, pulp.place])
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder
