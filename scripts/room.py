"""Memory that threads share: what is large waits until there is room for it, what adds up is counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class Room:
    """So many bytes; what needs more than all of them has them alone."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = Condition()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Hold so many bytes for a block, which begins once they are free. A thread holds room once at a time."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


class Tally:
    """Counts bytes of several threads against a bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._lock = Lock()

    def add(self, size: int) -> bool:
        """Count so many more (or fewer, if negative); whether all together are still within the bound."""
        with self._lock:
            self._size += size
            return self._size <= self._most
