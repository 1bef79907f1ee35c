"""Answers that have no end, or come by the drop: a server of our own at the other end of a socket, which says anything.

Nothing stands in for the client: it is `requests` and Docker's SDK, whose sockets are one end of a pair.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import repeat
from threading import Thread
from typing import Any

import pytest
import urllib3
from docker.transport.unixconn import UnixHTTPConnection

from scripts import answers
from scripts.answers import LONGEST_LINE, Lines
from scripts.engine import client as engine_client
from scripts.engine.engine import Engine
from scripts.engine.images import has_image, load_layout
from scripts.errors import Undecided
from scripts.oci.descriptor import digest_of
from scripts.reference import Repository
from scripts.registry.client import Registry
from scripts.registry.failures import DigestMismatch, RegistryRefused, RegistryUnavailable
from scripts.registry.transport import Transport
from tests.unit.registry.fake_registry import make_layout

REPOSITORY = Repository.parse("127.0.0.1:5000/team/image")
BLOB = b"some bytes of a layer" * 1000
OK, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = b"x" * (1 << 16)
Parts = Iterator[bytes]
# Bytes of an answer that has no end, and parts of one that comes by the drop: a test without bounds fails and ends.
ENOUGH, ENOUGH_DROPS = 1 << 24, 2000
LARGEST_HEAD, LARGEST_ANSWER = 1 << 16, 1 << 18
MOST_SENT = LARGEST_ANSWER + 2 * LARGEST_HEAD + (1 << 20)  # what lies in the sockets' buffers was sent, too


class Server:
    """Answers each request on each connection with what `answer` makes of it: parts, `pause` seconds apart."""

    def __init__(self) -> None:
        self.answer: Callable[[str], Parts] = lambda request: iter([OK + b"Content-Length: 0\r\n\r\n"])
        self.pause = 0.0
        self.sent = 0

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return ours

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while request := self._read(connection):
                for part in self.answer(request):
                    connection.sendall(part)
                    self.sent += len(part)
                    time.sleep(self.pause)

    @staticmethod
    def _read(connection: socket.socket) -> str:
        """The first line of a request; its body, in chunks or none, is left out."""
        data = b""
        while b"\r\n\r\n" not in data or (b"chunked" in data and not data.endswith(b"0\r\n\r\n")):
            more = connection.recv(1 << 16)
            if not more:
                return ""
            data += more
        return data.decode(errors="replace").splitlines()[0]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    def connect(connection: UnixHTTPConnection) -> None:
        connection.sock = server.connect()
        connection.sock.settimeout(connection.timeout)

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "_new_conn", lambda _: server.connect())
    monkeypatch.setattr(UnixHTTPConnection, "connect", connect)
    return server


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of a sixteenth: what has no end is poured, and that takes time."""
    monkeypatch.setattr(answers, "LARGEST_HEAD", LARGEST_HEAD)
    monkeypatch.setattr(answers, "LARGEST_PAGE", LARGEST_HEAD)
    monkeypatch.setattr("scripts.registry.transport.ANSWER", answers.Bounds(LARGEST_ANSWER))
    monkeypatch.setattr(engine_client, "ANSWER", answers.Bounds(LARGEST_ANSWER))


@pytest.fixture
def registry() -> Registry:
    return Registry(Transport(credentials=lambda host: None, sleep=lambda seconds: None))


def drip(*start: bytes) -> Callable[[str], Parts]:
    """After a start, a byte at a time, without an end that anybody should see."""

    def answer(request: str) -> Parts:
        yield from start
        yield from repeat(b" ", ENOUGH_DROPS)

    return answer


def pour(*start: bytes, more: bytes = LARGE) -> Callable[[str], Parts]:
    """After a start, the same again and again, without an end that anybody should see."""

    def answer(request: str) -> Parts:
        yield from start
        yield from repeat(more, ENOUGH // len(more))

    return answer


ASKED: dict[str, Callable[[Registry], Any]] = {
    "a manifest": lambda registry: registry.get_manifest(REPOSITORY, "latest"),
    "the referrers": lambda registry: registry.list_referrers(REPOSITORY, digest_of(BLOB)),
    "the root": lambda registry: registry.ping(REPOSITORY),
    "a blob's size": lambda registry: registry.blob_size(REPOSITORY, digest_of(BLOB)),
    "a blob": lambda registry: registry.open_blob(REPOSITORY, digest_of(BLOB), len(BLOB)).read(),
    "a blob's hash": lambda registry: registry.hash_blob(REPOSITORY, digest_of(BLOB), len(BLOB)),
    "a tag's end": lambda registry: registry.delete_tag(REPOSITORY, "latest"),
}
OIL = b"Content-Type: application/vnd.oci.image.index.v1+json\r\n"
ENDLESS = {
    "a body": (OK + OIL + b"\r\n", LARGE),
    "chunks": (OK + OIL + CHUNKED, b"10000\r\n" + LARGE + b"\r\n"),
    "chunks of nothing to speak of": (OK + OIL + CHUNKED, b"0" * 1000 + b"1\r\nx\r\n"),
    "the size of a chunk": (OK + OIL + CHUNKED, b"0" * 100_000),
    "a trailer": (OK + OIL + CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
    "the head": (OK, b"a: b\r\n" * 10_000),
    "a line of the head": (OK + b"a: ", LARGE),
    "going on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "a page that says no": (b"HTTP/1.1 403 Forbidden\r\n\r\n", LARGE),
    "a page that says why": (b"HTTP/1.1 500 Oh\r\n" + CHUNKED, b"10000\r\n" + LARGE + b"\r\n"),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("endless", ENDLESS)
def test_an_answer_without_end_is_not_read_on(asked: str, endless: str, server: Server, registry: Registry) -> None:
    start, more = ENDLESS[endless]
    server.answer = pour(start, more=more)
    with suppress(RegistryRefused, RegistryUnavailable, DigestMismatch):  # or what came was enough
        ASKED[asked](registry)
    assert server.sent < 4 * MOST_SENT, "one answer for each attempt"


@pytest.mark.parametrize("asked", ["a manifest", "the referrers", "the root"])
def test_what_is_too_large_is_said_and_not_asked_for_again(asked: str, server: Server, registry: Registry) -> None:
    server.answer = pour(OK + OIL + b"\r\n")
    with pytest.raises(RegistryRefused, match="bytes") as caught:
        ASKED[asked](registry)
    assert "127.0.0.1:5000" in caught.value.problems[0].place and caught.value.problems[0].next_step
    assert server.sent < MOST_SENT


DRIPPING = {
    "the head": b"",
    "a header": OK + b"a: ",
    "a body": OK + OIL + b"\r\n",
    "a chunk": OK + OIL + CHUNKED + b"ffff\r\n",
    "a page": b"HTTP/1.1 500 Oh\r\n\r\n",
}


@pytest.mark.parametrize("asked", ["a manifest", "the root", "a blob"])
@pytest.mark.parametrize("dripping", DRIPPING)
def test_an_answer_that_comes_by_the_drop_is_not_waited_for(
    asked: str, dripping: str, server: Server, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.registry.transport.ANSWER", answers.Bounds(LARGEST_ANSWER, 0.03))
    monkeypatch.setattr("scripts.registry.blobs.bounds_of_blob", lambda size: answers.Bounds(8 * size, 0.03))
    server.answer, server.pause = drip(DRIPPING[dripping]), 0.002
    with pytest.raises((RegistryUnavailable, RegistryRefused)):
        ASKED[asked](registry)
    assert server.sent < 4 * (len(DRIPPING[dripping]) + 200)


def test_a_token_without_end_is_none(server: Server, registry: Registry) -> None:
    challenge = b'WWW-Authenticate: Bearer realm="http://127.0.0.1:5000/token",service="x",scope="y"\r\n'

    def answer(request: str) -> Parts:
        if "/token" in request:
            return pour(OK + b"\r\n")(request)
        return iter([b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n" + challenge + b"\r\n"])

    server.answer = answer
    with pytest.raises(RegistryRefused, match=f"more than {LARGEST_ANSWER} bytes") as caught:
        registry.ping(REPOSITORY)
    assert "token service" in caught.value.problems[0].place


def test_a_slow_blob_is_read_as_long_as_it_comes(server: Server, registry: Registry) -> None:
    head = OK + b"Content-Length: %d\r\n\r\n" % len(BLOB)
    server.answer = lambda request: iter([head, *(BLOB[at : at + 1000] for at in range(0, len(BLOB), 1000))])
    server.pause = 0.001
    assert registry.open_blob(REPOSITORY, digest_of(BLOB), len(BLOB)).read() == BLOB


def test_a_blob_is_its_bytes_whatever_is_said_of_their_form(server: Server, registry: Registry) -> None:
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BLOB)
    server.answer = lambda request: iter([head + BLOB])
    assert registry.hash_blob(REPOSITORY, digest_of(BLOB), len(BLOB)) == digest_of(BLOB)
    assert registry.hash_blob(REPOSITORY, digest_of(BLOB), len(BLOB) - 1) == digest_of(BLOB)


# --- the engine

VERSION = b'{"ApiVersion": "1.47", "Version": "28.0.0"}'


def whole(body: bytes) -> Parts:
    return iter([OK + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body])


def after_version(answer: Callable[[str], Parts]) -> Callable[[str], Parts]:
    return lambda request: whole(VERSION) if "/version" in request else answer(request)


def ask_engine() -> Any:
    return has_image(Engine("unix:///run/some.sock", embedded=False, version="28"), digest_of(BLOB))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_client, "ANSWER", answers.Bounds(LARGEST_ANSWER, 0.03))
    monkeypatch.setattr("scripts.engine.images.LOADING", answers.Bounds(LARGEST_ANSWER, 0.03))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("endless", ENDLESS)
@pytest.mark.parametrize("first", [True, False])
def test_an_engine_that_does_not_end_is_not_listened_to(endless: str, first: bool, server: Server) -> None:
    start, more = ENDLESS[endless]
    server.answer = pour(start, more=more) if first else after_version(pour(start, more=more))
    with pytest.raises(Undecided, match="the engine "):
        ask_engine()
    assert server.sent < 2 * MOST_SENT


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dripping", DRIPPING)
def test_an_engine_that_speaks_by_the_drop_is_not_listened_to(dripping: str, server: Server) -> None:
    server.answer, server.pause = after_version(drip(DRIPPING[dripping])), 0.002
    with pytest.raises(Undecided, match="the engine failed: "):
        ask_engine()
    assert server.sent < 1000


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("more", [b'10\r\n{"stream":"xxx"}\r\n', b"10000\r\n" + LARGE + b"\r\n"])
def test_an_engine_that_loads_for_ever_is_not_listened_to(more: bytes, server: Server, tmp_path: Any) -> None:
    layout = make_layout(tmp_path, "some")
    server.answer = after_version(pour(OK + CHUNKED, more=more))
    with pytest.raises(Undecided, match=r"the engine failed: an answer .* not read on"):
        load_layout(Engine("unix:///run/some.sock", embedded=False, version="28"), tmp_path, layout.digest)
    assert server.sent < 4 * MOST_SENT


def test_an_engine_is_heard_out(server: Server) -> None:
    server.answer = after_version(lambda request: whole(b'{"Id": "%s"}' % digest_of(BLOB).encode()))
    assert ask_engine()


def test_the_first_byte_may_take_its_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the socket's own time limit that bounds it: registries hash a layer first, engines wait for a container."""
    monkeypatch.setattr(engine_client, "ANSWER", answers.Bounds(LARGEST_ANSWER, 0.02))

    def answer(request: str) -> Parts:
        body = b'{"Id": "%s"}' % digest_of(BLOB).encode()
        time.sleep(0.1)
        yield OK + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        time.sleep(0.1)
        yield body

    server.answer = after_version(answer)
    assert ask_engine()


@pytest.mark.parametrize("status", [b"403 Forbidden", b"500 Oh"])
def test_a_page_that_says_no_is_read_by_its_beginning(status: bytes, server: Server, registry: Registry) -> None:
    """Whatever was asked for: a blob may have gigabytes."""
    server.answer = pour(b"HTTP/1.1 " + status + b"\r\n\r\n")
    with suppress(RegistryRefused, RegistryUnavailable):
        registry.hash_blob(REPOSITORY, digest_of(BLOB), 1 << 40)
    assert server.sent < 4 * MOST_SENT


def test_a_line_that_does_not_end_is_handed_on_in_pieces() -> None:
    """A chunk's size is asked for as a line of any length."""
    lines = Lines(io.BytesIO(b"0" * 200_000))
    assert [len(lines.readline()) for _ in range(2)] == [LONGEST_LINE, LONGEST_LINE]
    assert len(lines.readline(10)) == 10
