"""What comes back over HTTP, watched as it comes: no answer is without end, and none comes by the drop.

A time limit of a socket is about one wait: an answer that brings a byte a second keeps within it for years. So what is
spent on waiting is added up, until something has come that is worth it.
"""

from __future__ import annotations

import errno
import http.client
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

LARGEST_HEAD = 1 << 20  # bytes; and of the frames around its chunks, where they are not a part of what was asked for
LARGEST_PAGE = 1 << 20  # bytes of the page that says what went wrong, whatever was asked for
LONGEST_LINE = 65_537  # bytes of a header or a chunk's size: one more than http.client takes
LEAST = 1 << 16  # bytes that count as progress
MOST_WAIT = 60  # seconds


@dataclass(frozen=True)
class Bounds:
    """How many bytes an answer may have, and how many seconds may be spent on waiting for LEAST of them.

    The wait for the first byte of an answer, and of what it has behind its head, is the socket's own time limit.
    """

    most: float
    seconds: float = MOST_WAIT


class Unbounded(OSError):
    """An answer that is not read on."""


class TooLarge(Unbounded):
    """It has more bytes than what was asked for could have."""


class TooSlow(Unbounded):
    """It comes by the drop."""


_BOUNDS: ContextVar[Bounds | None] = ContextVar("_BOUNDS", default=None)


@contextmanager
def bounded(bounds: Bounds) -> Iterator[None]:
    """The bounds of the answers to what is asked in this block, by this thread: they hold until each has been read."""
    before = _BOUNDS.set(bounds)
    try:
        yield
    finally:
        _BOUNDS.reset(before)


def bounds_or(other: Bounds) -> Bounds:
    """The bounds of the block that this is in, or others."""
    return _BOUNDS.get() or other


def find_unbounded(error: BaseException | None) -> Unbounded | None:
    """What made somebody's error, where that was an answer that is not read on."""
    while error is not None and not isinstance(error, Unbounded):
        error = error.__cause__ or error.__context__
    return error


class WatchedAdapter(HTTPAdapter):
    """`requests` over HTTP, by a proxy or without, with bounds on each answer where no block gives others."""

    def __init__(self, bounds: Bounds, **options: Any) -> None:
        self._bounds = bounds
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """As `requests` does."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """As `requests` does."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """As `requests` does."""
        with bounded(bounds_or(self._bounds)):
            return super().send(request, *arguments, **options)


class WatchedResponse(http.client.HTTPResponse):
    """A response whose every byte is counted as it leaves the socket, those of its head and of its chunks' frames too.

    Nobody here asks for an answer to be packed, so what says that it is, is taken as it came: a blob is its bytes.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._bounds = bounds_or(Bounds(LARGEST_PAGE))
        self._watched = _Watched(self.fp.detach(), Bounds(LARGEST_HEAD, self._bounds.seconds))
        self.fp = Lines(self._watched)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        del self.headers["Content-Encoding"]
        self._watched.begin(self._bounds if self.status < 400 else Bounds(LARGEST_PAGE, self._bounds.seconds))


class _Pool(HTTPConnectionPool):
    def _new_conn(self) -> Any:
        return watched(super()._new_conn())


class _SecurePool(HTTPSConnectionPool):
    def _new_conn(self) -> Any:
        return watched(super()._new_conn())


_POOLS = {"http": _Pool, "https": _SecurePool}


def watched(connection: Any) -> Any:
    """A connection whose responses are watched."""
    connection.response_class = WatchedResponse
    return connection


class Lines(io.BufferedReader):
    """Reads no line of more than LONGEST_LINE, for those who ask for a line of any length."""

    def readline(self, size: int | None = -1, /) -> bytes:
        return super().readline(LONGEST_LINE if size is None or not 0 <= size <= LONGEST_LINE else size)


class _Watched(io.RawIOBase):
    """What comes out of a socket."""

    def __init__(self, stream: Any, bounds: Bounds) -> None:
        self._stream = stream
        self._sock = stream._sock  # where the engine's SDK takes the time limit off
        self.begin(bounds)

    def begin(self, bounds: Bounds) -> None:
        """Count anew."""
        self._bounds, self._taken, self._come = bounds, 0, 0
        self._waited = -1.0  # below 0: nothing has come yet

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def readinto(self, buffer: memoryview, /) -> int | None:  # type: ignore[override]
        started = time.monotonic()
        size: int | None = self._stream.readinto(buffer)
        if not size:
            return size
        self._taken += size
        self._come += size
        self._waited = 0.0 if self._waited < 0 else self._waited + time.monotonic() - started
        if self._taken > self._bounds.most + LARGEST_HEAD:
            raise TooLarge(errno.EMSGSIZE, f"an answer of more than {self._bounds.most:.0f} bytes")
        if self._come >= LEAST:
            self._waited, self._come = 0.0, 0
        elif self._waited > self._bounds.seconds:
            raise TooSlow(errno.ETIME, f"an answer that brought {self._come} bytes in {self._waited:.0f} seconds")
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()
