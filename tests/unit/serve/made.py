"""A server on an engine in memory, asked through a forwarder that only says that it was there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from scripts.compare.engines import ENGINES
from scripts.errors import ExitCode
from scripts.model import Target
from scripts.pipeline import Bench
from scripts.serve import serve as module
from scripts.serve.container import Wanted, name_container
from scripts.serve.model import Model
from scripts.serve.network import Way
from scripts.serve.subject import Subject
from tests.unit.builders import CPU, make_cell
from tests.unit.fake_docker import FakeContainer, FakeDocker
from tests.unit.pipeline.lab import RTX_5090

DIGEST = "sha256:" + "d" * 64
PORT = 8123
HUB = Model("team/model", None)


def make_subject(engine: str = "vllm", target: Target = CPU) -> Subject:
    return Subject(make_cell(target), DIGEST, "hallmark/serve:1.0-cpu", ENGINES[engine])


class Listener:
    """A socket that listens, in name."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Serving:
    """What `serve` works with. A test says what happens when the server is asked whether it is well, by `answers`."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.docker = FakeDocker()
        self.docker.info = lambda: {"Runtimes": {"nvidia": {}}}  # type: ignore[method-assign]
        self.docker.behave = self._behave
        self.engine = self.docker.engine()
        self.bench = cast(
            "Bench",
            SimpleNamespace(
                engine=self.engine,
                project=SimpleNamespace(site=SimpleNamespace(cache=folder)),
                hold_gpus=self._hold,
            ),
        )
        self.model = Model("tiny", folder)
        self.held = 0
        self.listener = Listener()
        self.carried: list[tuple[tuple[str, int], int | None]] = []
        self.answers: list[Any] = [False, True]
        self.ready = Event()
        # What the container says: at the start, once it is well, and then comes Ctrl-C.
        self.said: list[Any] = [b"loading\nrea", b"dy\n", self.ready.wait, b"answered\n", b"^C\n"]
        self.printed: list[str] = []
        self.on_container: Callable[[FakeContainer], None] = lambda container: None
        patch.setattr(module, "POLL_S", 0.0)
        patch.setattr(module, "open_listener", lambda port: self.listener)
        patch.setattr(module, "open_namespace", lambda container: 77)
        patch.setattr(module, "Forwarder", self._forward)
        patch.setattr(module, "is_healthy", self._ask)
        patch.setattr(os, "getuid", lambda: 7)
        patch.setattr(module, "show_use", lambda name, port: self.ready.set())
        patch.setattr(module, "tell", self._tell)

    def run(self, way: Way = Way.ENTERED, subject: Subject | None = None, **options: Any) -> ExitCode:
        return module.serve(
            self.bench, subject or make_subject(), self.model, Wanted(options.pop("port", PORT), **options), way
        )

    @property
    def container(self) -> FakeContainer:
        return self.docker.made[name_container(PORT)]

    @property
    def options(self) -> dict[str, Any]:
        [(_, options)] = self.docker.created
        return options

    def _behave(self, container: FakeContainer) -> None:
        container.hangs = True
        container.addresses = {container.name: "172.30.0.2"}
        container.stream = self.said
        self.on_container(container)

    def _ask(self, port: int) -> bool:
        assert port == PORT
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return bool(answer() if callable(answer) else answer)

    def _tell(self, lines: list[str]) -> None:
        [line] = lines
        if line == "^C":
            raise KeyboardInterrupt
        self.printed.append(line)

    @contextmanager
    def _hold(self, cell: object, digest: str, most: int) -> Iterator[tuple[object, ...]]:
        assert most == 1 and digest.startswith("sha256:")
        self.held += 1
        try:
            yield (RTX_5090,)
        finally:
            self.held -= 1

    def _forward(self, listener: Listener, address: tuple[str, int], namespace: int | None = None) -> Carrying:
        assert listener is self.listener
        self.carried.append((address, namespace))
        return Carrying(listener, self)


class Carrying:
    """A forwarder's block."""

    def __init__(self, listener: Listener, serving: Serving) -> None:
        self._listener, self._serving = listener, serving

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._serving.container.removed, "an answer that is under way would be cut"
        self._listener.close()
