"""The client against a scripted server, which speaks HTTP over a pair of sockets: what is wrong gives no number."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import probe
import pytest
import stream
from probe import Failed
from stream import Answer, ask

COUNT = 3
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
Speak = Callable[["Line"], None]


class Line:
    """The server's end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.asked: dict[str, Any] = {}

    def send(self, data: bytes) -> None:
        self.end.sendall(data)

    def event(self, data: bytes) -> None:
        text = b"data: " + data + b"\n\n"
        self.send(f"{len(text):x}\r\n".encode() + text + b"\r\n")

    def part(self, text: str) -> None:
        self.event(json.dumps({"choices": [{"text": text}]}).encode())

    def usage(self, tokens: int, cached: int | None = None) -> None:
        details = None if cached is None else {"cached_tokens": cached}
        usage = {"completion_tokens": tokens, "prompt_tokens_details": details}
        self.event(json.dumps({"choices": [], "usage": usage}).encode())

    def finish(self) -> None:
        self.event(b"[DONE]")
        self.send(b"0\r\n\r\n")


class Scripted:
    """In place of probe's Server: each connection is answered by `speak`; it may have died."""

    port = 8000

    def __init__(self, speak: Speak) -> None:
        self.speak, self.dead, self.lines = speak, False, list[Line]()

    def require_alive(self) -> None:
        if self.dead:
            raise Failed("the server has ended with exit code -9")

    def connect(self, port: int, timeout_s: float) -> http.client.HTTPConnection:
        mine, theirs = socket.socketpair()
        mine.settimeout(timeout_s)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        connection.sock = mine
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return connection

    def _serve(self, end: socket.socket) -> None:
        line = Line(end)
        self.lines.append(line)
        with end:
            head, _, body = end.recv(65536).partition(b"\r\n\r\n")
            length = next(
                int(each.split(b":")[1]) for each in head.split(b"\r\n") if each.startswith(b"Content-Length")
            )
            while len(body) < length:
                body += end.recv(65536)
            line.asked = json.loads(body)
            with suppress(OSError):  # the client has hung up
                self.speak(line)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stream, "POLL_S", 0)
    yield


def converse(speak: Speak, monkeypatch: pytest.MonkeyPatch, within_s: float = 5, count: int = COUNT) -> Answer:
    server = Scripted(speak)
    monkeypatch.setattr(stream, "connect", server.connect)
    return ask(server, [1, 2], count, within_s)  # type: ignore[arg-type]


def answer_well(line: Line) -> None:
    line.send(HEAD)
    for text in ("a", "", "b"):
        time.sleep(0.02)
        line.part(text)
    line.usage(COUNT, cached=1)
    line.finish()


def test_an_answer_is_timed_by_its_parts_and_counted_by_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = converse(answer_well, monkeypatch)
    assert (found.tokens, found.cached) == (COUNT, 1)
    assert 0.02 <= found.first_s < found.last_s and found.last_s >= 0.06
    assert found.per_token_s == pytest.approx((found.last_s - found.first_s) / 2)


def test_what_is_asked_is_streamed_and_of_a_fixed_length(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Scripted(answer_well)
    monkeypatch.setattr(stream, "connect", server.connect)
    ask(server, range(3), COUNT, 5)  # type: ignore[arg-type]
    [line] = server.lines
    assert line.asked["prompt"] == [0, 1, 2] and line.asked["max_tokens"] == COUNT and line.asked["temperature"] == 0
    assert line.asked["skip_special_tokens"] is False, "each token is a text"
    assert line.asked["ignore_eos"] is True and line.asked["stream"] is True
    assert line.asked["stream_options"] == {"include_usage": True}


def test_an_engine_that_says_nothing_of_its_cache_had_nothing_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(line: Line) -> None:
        line.send(HEAD)
        line.part("a")
        line.part("b")
        line.usage(COUNT)
        line.finish()

    assert converse(speak, monkeypatch).cached == 0


def refuse(line: Line) -> None:
    line.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nexploded!")


def report_an_error(line: Line) -> None:
    line.send(HEAD)
    line.part("a")
    line.event(b'{"error": {"message": "out of memory"}}')
    line.finish()


def answer_empty(line: Line) -> None:
    line.send(HEAD)
    line.usage(0)
    line.finish()


def say_nothing_of_usage(line: Line) -> None:
    line.send(HEAD)
    line.part("a")
    line.part("b")
    line.finish()


def answer_short(line: Line) -> None:
    line.send(HEAD)
    line.part("a")
    line.part("b")
    line.usage(2)
    line.finish()


def answer_without_text(line: Line) -> None:
    line.send(HEAD)
    for _ in range(COUNT):
        line.part("")
    line.usage(COUNT)
    line.finish()


def answer_at_once(line: Line) -> None:
    line.send(HEAD)
    line.part("abc")
    line.part("")
    line.usage(COUNT)
    line.finish()


def break_off(line: Line) -> None:
    line.send(HEAD)
    line.part("a")


def end_without_done(line: Line) -> None:
    line.send(HEAD)
    line.part("a")
    line.part("b")
    line.usage(COUNT)
    line.send(b"0\r\n\r\n")


def babble(line: Line) -> None:
    line.send(HEAD)
    line.event(b"no JSON")
    line.finish()


@pytest.mark.parametrize(
    ("speak", "said"),
    [
        (refuse, "answered with 500: exploded!"),
        (report_an_error, 'an event of the stream is {"error"'),
        (answer_empty, "no of 3 tokens were answered"),
        (say_nothing_of_usage, "no of 3 tokens were answered"),
        (answer_short, "2 of 3 tokens were answered"),
        (answer_without_text, "3 tokens were answered, and no text"),
        (answer_at_once, "3 tokens came in one part: the answer was not streamed"),
        (break_off, "the answer broke off: .*after 1 parts"),
        (end_without_done, r"broke off: ConnectionError: the stream ended without \[DONE\], after 2 parts"),
        (babble, "an event of the stream is no JSON"),
    ],
)
def test_a_wrong_answer_is_no_answer(speak: Speak, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failed, match=said):
        converse(speak, monkeypatch)


def test_a_server_that_stalls_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def stall(line: Line) -> None:
        line.send(HEAD)
        line.part("a")
        release.wait(5)

    with pytest.raises(Failed, match="the answer stalled"):
        converse(stall, monkeypatch, within_s=0.1)
    release.set()


def test_a_server_that_drips_for_too_long_stalls_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(line: Line) -> None:
        line.send(HEAD)
        for _ in range(40):
            line.part("a")
            time.sleep(0.02)

    with pytest.raises(Failed, match="the answer stalled"):
        converse(drip, monkeypatch, within_s=0.1)


@pytest.mark.parametrize("speak", [break_off, lambda line: None], ids=["while it answers", "before it answers"])
def test_a_server_that_dies_is_said_to_have_died(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Scripted(speak)

    def connect(port: int, timeout_s: float) -> http.client.HTTPConnection:
        connection = server.connect(port, timeout_s)
        server.dead = True
        return connection

    monkeypatch.setattr(stream, "connect", connect)
    with pytest.raises(Failed, match="ended with exit code -9"):
        ask(server, [1], COUNT, 5)  # type: ignore[arg-type]


def test_a_dead_server_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Scripted(answer_well)
    server.dead = True
    with pytest.raises(probe.Failed, match="ended with exit code -9"):
        ask(server, [1], COUNT, 5)  # type: ignore[arg-type]
    assert server.lines == []
