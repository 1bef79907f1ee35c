"""serve: an image's server from its start to Ctrl-C, on one port of 127.0.0.1."""

from __future__ import annotations

import http.client
import json
import sys
import time
from contextlib import ExitStack
from typing import Any

from docker.types import DeviceRequest

from scripts.console import note, show, tell
from scripts.console import step as announce
from scripts.engine import Engine
from scripts.errors import ExitCode, Undecided
from scripts.locks import hold
from scripts.pipeline import Bench
from scripts.serve.container import PORT, Wanted, name_container, open_container, require_running
from scripts.serve.follow import Follower
from scripts.serve.forward import HERE, Forwarder, open_listener
from scripts.serve.model import Model
from scripts.serve.network import Way, open_namespace
from scripts.serve.subject import Subject
from scripts.smoke.gpu import request_device

POLL_S = 0.5
HEALTH_S = 30.0  # SGLang generates a token before it answers


def serve(bench: Bench, subject: Subject, model: Model, wanted: Wanted, way: Way) -> ExitCode:
    """Serve a model until Ctrl-C, which is its good end; a Ctrl-C before it answered is an interruption.

    Raises ConfigError for a port that is not to be had, Undecided where engine, GPU or server fails.
    """
    cell, port = subject.cell, wanted.port
    ready = False
    try:
        with ExitStack() as stack:
            lock = bench.project.site.cache / "locks" / f"serve-{port}.lock"
            stack.enter_context(hold(lock, f"another `serve` on port {port}", patience_s=0))
            listener = None if way is Way.PUBLISHED else open_listener(port)
            if listener:
                stack.callback(listener.close)
            devices: tuple[DeviceRequest, ...] = ()
            if cell.target.has_gpu:
                gpu = stack.enter_context(bench.hold_gpus(cell, subject.digest, 1))[0]
                devices = (request_device(bench.engine, gpu),)
            note(f"{cell.id}: {subject.name} serves {model.folder or model.name}; {way.value}")
            # Entered before the container, so left after it: what is being answered as it stops comes through.
            carrying = stack.enter_context(ExitStack())
            container = stack.enter_context(open_container(bench.engine, subject, model, wanted, way, devices))
            follower = Follower(container)
            if listener:
                carrying.enter_context(_forward(bench.engine, listener, container, follower, way, wanted))
            wait_until_healthy(bench.engine, cell.id, container, follower, port)
            ready = True
            show_use(model.name, port)
            for line in follower.lines():
                tell([line])
            while True:  # until it has ended, as its output has, or until Ctrl-C
                require_running(container, bench.engine, follower)
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        if not ready:
            raise
    return ExitCode.ACCEPTED


def _forward(engine: Engine, listener: Any, container: Any, follower: Follower, way: Way, wanted: Wanted) -> Forwarder:
    """The port's way into the container."""
    if way is Way.ENTERED:
        try:
            return Forwarder(listener, (HERE, PORT), open_namespace(container))
        except Undecided:
            require_running(container, engine, follower)  # one that has ended has no process any more
            raise
    with engine.explaining():
        networks = container.attrs["NetworkSettings"]["Networks"]
        address = str(networks[name_container(wanted.port)]["IPAddress"])
    return Forwarder(listener, (address, PORT))


def wait_until_healthy(engine: Engine, cell: str, container: Any, follower: Follower, port: int) -> None:
    """Wait for /health, as long as the server lives: a large model may be hours on its way.

    Raises Undecided where the server ends.
    """
    with announce(cell, "serve") as update:
        while not is_healthy(port):
            require_running(container, engine, follower)
            update(follower.last)
            time.sleep(POLL_S)
    follower.skip()


def is_healthy(port: int) -> bool:
    """Whether the server answers that it is well, asked as its users ask it."""
    connection = http.client.HTTPConnection(HERE, port, timeout=HEALTH_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def show_use(name: str, port: int) -> None:
    """How to ask the server, on stdout, to be copied."""
    asked = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64})
    show(f"curl http://{HERE}:{port}/v1/chat/completions -H 'Content-Type: application/json' -d '{asked}'")
    sys.stdout.flush()
    note(f"serving {name} at http://{HERE}:{port}/v1 until Ctrl-C")
