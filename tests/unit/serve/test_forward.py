"""What is carried between two sockets, piece by piece, and how each end of one reaches the other."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.serve.forward import CHUNK, Forwarder, Streams, join_streams, open_listener
from tests.unit.fake_docker import raise_
from tests.unit.serve.made import Listener

WITHIN_S = 10


def carry(act: Callable[[Streams, Streams], Awaitable[None]]) -> None:
    """Let a client and a server, each at its end of a pair of sockets, act while what is between them carries."""

    async def run() -> None:
        pairs = [socket.socketpair() for _ in range(2)]
        (client, inner), (outer, server) = [
            [await asyncio.open_connection(sock=each) for each in pair] for pair in pairs
        ]
        between = asyncio.create_task(join_streams(inner, outer))
        async with asyncio.timeout(WITHIN_S):
            await act(client, server)
            await between

    asyncio.run(run())


def test_pieces_are_carried_as_they_come() -> None:
    async def act(client: Streams, server: Streams) -> None:
        client[1].write(b"ask")
        assert await server[0].readexactly(3) == b"ask"
        for piece in (b"one", b"two"):
            server[1].write(piece)
            assert await client[0].readexactly(3) == piece, "before the next is sent"
        server[1].write_eof()
        assert await client[0].read() == b""
        client[1].write_eof()

    carry(act)


def test_a_side_that_has_said_all_still_hears_the_answer() -> None:
    async def act(client: Streams, server: Streams) -> None:
        client[1].write(b"all of it")
        client[1].write_eof()
        assert await server[0].read() == b"all of it"
        server[1].write(b"answer")
        server[1].write_eof()
        assert await client[0].read() == b"answer"

    carry(act)


def test_large_bodies_are_carried_whole_and_do_not_pile_up() -> None:
    async def act(client: Streams, server: Streams) -> None:
        body = os.urandom(1000) * 10_000
        client[1].write(body)
        for _ in range(3000):  # rounds of the loop, which would carry it all
            await asyncio.sleep(0)
        # Nobody reads there yet: nearly all of it still waits at the client.
        assert client[1].transport.get_write_buffer_size() > len(body) - 40 * CHUNK
        assert await server[0].readexactly(len(body)) == body
        client[1].write_eof()
        server[1].write_eof()

    carry(act)


def test_a_client_that_is_lost_is_lost_to_the_server() -> None:
    async def act(client: Streams, server: Streams) -> None:
        server[1].write(b"piece")
        await client[0].readexactly(5)
        client[1].transport.abort()
        with pytest.raises(OSError, match=r".*"):
            while True:
                server[1].write(b"piece")
                await server[1].drain()
                await asyncio.sleep(0)

    carry(act)


def test_a_network_that_cannot_be_entered_is_undecided() -> None:
    listener = Listener()
    other = os.open("/dev/null", os.O_RDONLY)  # no network's file
    forwarder = Forwarder(cast("socket.socket", listener), ("127.0.0.1", 8000), other)
    with pytest.raises(Undecided, match=r"the container's network cannot be entered: .*Invalid"), forwarder:
        pass
    assert listener.closed
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(other)


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    monkeypatch.setattr(socket.socket, "bind", lambda *_: raise_(taken))
    with pytest.raises(ConfigError, match=r"port 8123 of 127\.0\.0\.1: Address already in use"):
        open_listener(8123)


def test_only_this_machine_can_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[object] = []
    monkeypatch.setattr(socket.socket, "bind", lambda _, address: bound.append(address))
    monkeypatch.setattr(socket.socket, "listen", lambda *_: None)
    open_listener(8123).close()
    assert bound == [("127.0.0.1", 8123)]
