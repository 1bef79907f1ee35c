"""Asking without being held up or brought down: each probe has a thread of its own, and a time to answer in."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Generic

from scripts.doctor.seen import T, Unseen
from scripts.errors import HallmarkError

LIMIT_S = 75.0  # more than the driver is given by its own probe; what answers at all, answers within a second


class Asked(Generic[T]):
    """A question that has been asked and may not be answered yet."""

    def __init__(self, ask: Callable[[], T], limit_s: float = LIMIT_S) -> None:
        self._ask = ask
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s
        self._found: list[T | Unseen] = []
        # Nobody has to wait for it: a call into a broken driver or a lost network drive may never return.
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def answer(self) -> T | Unseen:
        """What the probe found, or why it found nothing: it failed, or its time is over."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._found[0] if self._found else Unseen(f"no answer within {self._limit_s:g} s")

    def _run(self) -> None:
        try:
            self._found.append(self._ask())
        except Exception as error:  # also a mistake of ours: the other lines are worth having
            self._found.append(explain(error))


def explain(error: Exception) -> Unseen:
    """An exception as a line: the first problem of ours, the operating system's words, or the kind of error."""
    if isinstance(error, HallmarkError):
        problem = error.problems[0]
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        place = f"{problem.place}: " if problem.place else ""
        return Unseen(_one_line(f"{place}{problem.cause}{more}"), _one_line(problem.next_step))
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return Unseen(_one_line(f"{place}{error.strerror}"))
    return Unseen(_one_line(f"{type(error).__name__}: {error}"))


def _one_line(text: str) -> str:
    return " ".join(text.split())
