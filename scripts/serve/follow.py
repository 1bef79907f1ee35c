"""What a server's container says, line by line, while it runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from queue import Queue
from threading import Thread
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from scripts.answers import bounded
from scripts.engine.client import FAILURES, STREAM

FINISH_S = 5.0  # for what an ended container still had to say
AGAIN_S = 0.5
KEPT = 20  # lines for whoever asks why it ended


class Follower:
    """Reads a container's output in a thread of its own, from the moment that it is made."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self._kept: deque[str] = deque(maxlen=KEPT)
        self._lines: Queue[str | None] = Queue()
        self._thread = Thread(target=self._read, name="follower", daemon=True)
        self._thread.start()

    def finish(self) -> str:
        """The last lines of a container that has ended."""
        self._thread.join(FINISH_S)
        return "\n".join(self._kept)

    @property
    def last(self) -> str:
        return self._kept[-1] if self._kept else ""

    def lines(self) -> Iterator[str]:
        """The lines that nobody has been handed yet, and those to come, until the container ends."""
        while (line := self._lines.get()) is not None:
            yield line

    def skip(self) -> None:
        """Leave out what was said so far."""
        while not self._lines.empty():
            if self._lines.get() is None:
                self._lines.put(None)
                return

    def _read(self) -> None:
        since: float | None = None
        try:
            while True:
                try:
                    self._read_on(since)
                    return
                # Lost, or nothing was said for too long.
                except (requests.ConnectionError, requests.Timeout, HTTPError):
                    time.sleep(AGAIN_S)
                    since = time.time()
                    self._container.reload()
                    if self._container.status != "running":
                        return
        except FAILURES:
            return  # the engine has gone: whoever asks it next says so
        finally:
            self._lines.put(None)

    def _read_on(self, since: float | None) -> None:
        rest = b""
        with bounded(STREAM):
            chunks = self._container.logs(stream=True, follow=True, since=since)
        for chunk in chunks:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                self._keep(line)
        if rest:
            self._keep(rest)

    def _keep(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        self._kept.append(text)
        self._lines.put(text)
