"""One port of 127.0.0.1, carried to a server in a container: into its network namespace, or to its address.

A socket stays in the network namespace in which it was made. So a thread that has entered the container's connects
there, and takes what a socket accepts that was made here before: nothing is started, and nothing listens elsewhere.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from threading import Event, Thread
from types import TracebackType
from typing import Self

from scripts.errors import ConfigError, Undecided

HERE = "127.0.0.1"
CHUNK = 1 << 16  # bytes that are read at once
START_S = 10.0
CLONE_NEWNET = 0x40000000


def open_listener(port: int) -> socket.socket:
    """A socket that listens on a port of 127.0.0.1. Raises ConfigError where the port is not to be had."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HERE, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(f"port {port} of {HERE}: {error.strerror}", "--port", "choose another port") from error
    return listener


class Forwarder:
    """Carries connections while its block runs: each byte as it comes, each side's end, and a reset as a reset.

    `namespace` is the open file of a network namespace to connect in, or None for this one. Raises Undecided where that
    cannot be entered. The listener and the file are its own, and closed with it.
    """

    def __init__(self, listener: socket.socket, address: tuple[str, int], namespace: int | None = None) -> None:
        self._listener, self._address, self._namespace = listener, address, namespace
        self._begun = Event()
        self._fault: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._carried: set[asyncio.Task[None]] = set()
        self._thread = Thread(target=self._run, name="forwarder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._begun.wait(START_S) or self._fault:
            self._close()
            cause = f"the container's network cannot be entered: {self._fault or 'no answer'}"
            raise Undecided(cause, "serve", "run it as root, which the embedded engine needs as well")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        if self._loop and self._end and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_S)
        self._listener.close()
        if self._namespace is not None:
            os.close(self._namespace)

    def _run(self) -> None:
        try:
            if self._namespace is not None:
                enter_network(self._namespace)
        except OSError as error:
            self._fault = error
            self._begun.set()
            return
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, sock=self._listener)
        self._begun.set()
        await self._end.wait()
        server.close()  # what is being carried is cancelled with the loop

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: one that asyncio makes prints a traceback when it is cancelled.
        task = asyncio.create_task(self._carry(reader, writer))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(*self._address)
        except OSError:
            writer.transport.abort()  # nobody listens there: who asks is told at once
            return
        await join_streams((reader, writer), there)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join_streams(one: Streams, other: Streams) -> None:
    """Carry bytes both ways until both sides have ended. Where a side is lost, the other is lost, too."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(one[0], other[1]))
            both.create_task(_copy(other[0], one[1]))
    except* OSError:
        # A server that still computes an answer for a client that has gone is to notice.
        one[1].transport.abort()
        other[1].transport.abort()
    finally:
        one[1].close()
        other[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()  # a side that reads slowly slows the other down, and nothing piles up here
    writer.write_eof()


def enter_network(namespace: int) -> None:
    """Move the calling thread, and no other, into a network namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
