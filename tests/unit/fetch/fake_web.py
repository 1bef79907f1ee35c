"""Hosts in memory, behind `requests`: no sockets. Each address has an answer, or one for each time it is asked."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence

import requests
from requests.adapters import BaseAdapter

Answer = Callable[[requests.PreparedRequest], requests.Response]


class FakeWeb(BaseAdapter):
    """Answers by address; the last answer of an address stays, one that is not there is a 404."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[requests.PreparedRequest] = []

    def session(self) -> requests.Session:
        session = requests.Session()
        for prefix in ("https://", "http://"):
            session.mount(prefix, self)
        return session

    def put(self, url: str, *answers: Answer) -> str:
        self.answers[url] = list(answers)
        return url

    def asked(self, url: str) -> list[str]:
        """The ranges that an address was asked for, in turn; empty for the whole file."""
        return [str(r.headers.get("Range", "")) for r in self.requests if r.url == url]

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        assert timeout, "every request has a time limit"
        assert stream, "a file of gigabytes does not fit into memory"
        assert request.headers["Accept-Encoding"] == "identity", "hashes are over the bytes as published"
        self.requests.append(request)
        answers = self.answers.get(str(request.url), [status(404)])
        return (answers.pop(0) if len(answers) > 1 else answers[0])(request)

    def close(self) -> None:
        pass


class Body(io.RawIOBase):
    """Bytes that come in pieces; a piece that is an exception is raised."""

    def __init__(self, pieces: Iterator[bytes | BaseException]) -> None:
        self._pieces = pieces

    def read(self, size: int = -1) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, BaseException):
            raise piece
        return piece


def serve(data: bytes, *, ranges: bool = True) -> Answer:
    """The whole file, or from where it was asked for."""

    def answer(request: requests.PreparedRequest) -> requests.Response:
        start = int(str(request.headers.get("Range", "bytes=0-"))[6:-1]) if ranges else 0
        if start >= len(data) > 0:
            return _respond(request, 416, [b""])
        return _respond(request, 206 if start else 200, [data[start:]])

    return answer


def pieces(*parts: bytes | BaseException, code: int = 200) -> Answer:
    return lambda request: _respond(request, code, parts)


def stream(source: Iterator[bytes | BaseException]) -> Answer:
    return lambda request: _respond(request, 200, source)


def status(code: int) -> Answer:
    return lambda request: _respond(request, code, [b"no"])


def refuse(error: type[requests.RequestException] = requests.ConnectionError) -> Answer:
    def answer(request: requests.PreparedRequest) -> requests.Response:
        raise error(f"no route to {request.url}")

    return answer


def _respond(
    request: requests.PreparedRequest,
    code: int,
    parts: Sequence[bytes | BaseException] | Iterator[bytes | BaseException],
) -> requests.Response:
    response = requests.Response()
    response.status_code, response.request, response.url = code, request, str(request.url)
    response.raw = Body(iter(parts))
    return response
