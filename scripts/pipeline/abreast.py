"""Work side by side that an interruption ends at once, and a failure does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

from scripts.errors import HallmarkError

T = TypeVar("T")
R = TypeVar("R")


def run_abreast(work: Callable[[T], R], items: Sequence[T], at_a_time: int, stop: Callable[[], None]) -> list[R]:
    """What `work` gives for each item, in their order, so many at a time; `stop` ends what is being worked on.

    Raises the first HallmarkError once what had begun beside it has ended. Nothing is begun after it.
    """
    if at_a_time < 2 or len(items) < 2:
        return [work(item) for item in items]
    failed = Event()

    def begin(item: T) -> R:
        if failed.is_set():
            raise CancelledError  # which nobody sees: what failed was begun before it
        try:
            return work(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(at_a_time) as pool:
        try:
            return list(pool.map(begin, items))
        except HallmarkError:
            raise
        except BaseException:  # an interruption reaches this thread alone: the others end with their builds
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise
