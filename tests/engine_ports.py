"""A port of this machine inside an embedded engine's network namespace, whose loopback is otherwise down."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from scripts.engine import Engine
from scripts.errors import Undecided
from scripts.serve.forward import enter_network

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # of an interface, for ioctl: SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP

T = TypeVar("T")


@contextmanager
def listen_inside(engine: Engine, port: int) -> Iterator[socket.socket | None]:
    """A socket that listens on a port of 127.0.0.1 in the engine's namespace; None where that is this process's own.

    The loopback is up meanwhile. A socket belongs to the namespace that it was made in, whoever takes its connections.
    """
    namespace = Path(f"/proc/{_find_process(engine)}/ns/net")
    if namespace.stat().st_ino == Path("/proc/self/ns/net").stat().st_ino:
        yield None
        return
    with ExitStack() as stack:
        inner = stack.enter_context(namespace.open("rb"))
        before = _inside(inner.fileno(), partial(_set_loopback, None))
        stack.callback(_inside, inner.fileno(), partial(_set_loopback, before))
        yield stack.enter_context(_inside(inner.fileno(), partial(_listen, port)))


def _find_process(engine: Engine) -> int:
    """The process that listens on an engine's socket. Raises Undecided for an engine on another machine."""
    if not engine.host.startswith("unix://"):
        raise Undecided("the engine is on another machine", engine.host, "use one of this machine")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(engine.host.removeprefix("unix://"))
        return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def _inside(namespace: int, call: Callable[[], T]) -> T:
    """What a call gives in a network namespace, in a thread of its own: no other thread leaves its own."""

    def run() -> T:
        enter_network(namespace)
        return call()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def _set_loopback(flags: int | None) -> int:
    """Give the loopback interface these flags, or let it be up; those that it had."""
    with socket.socket() as control:
        had = int(struct.unpack("16sh", fcntl.ioctl(control, _GET_FLAGS, struct.pack("16sh", b"lo", 0)))[1])
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh", b"lo", had | _UP if flags is None else flags))
    return had
