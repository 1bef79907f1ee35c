"""Work side by side that an interruption ends at once, and a failure does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from scripts.errors import HallmarkError

T = TypeVar("T")
R = TypeVar("R")


def run_abreast(work: Callable[[T], R], items: Sequence[T], at_a_time: int, stop: Callable[[], None]) -> list[R]:
    """What `work` gives for each item, in their order, so many at a time; `stop` ends what is being worked on.

    Raises the first HallmarkError once what had begun beside it has ended.
    """
    if at_a_time < 2 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(at_a_time) as pool:
        try:
            return list(pool.map(work, items))
        except HallmarkError:
            raise
        except BaseException:  # an interruption reaches this thread alone: the others end with their builds
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise
