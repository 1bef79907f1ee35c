"""One holder at a time, between threads, processes and users of this machine: a lock on a file."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from scripts.console import note
from scripts.errors import Undecided

SAY_EVERY_S = 60.0
POLL_S = 0.2


@contextmanager
def hold(
    path: Path,
    holder: str,
    *,
    patience_s: float = math.inf,
    quiet_s: float = 0.0,
    mend: str = "make it writable for whoever runs this",
) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing, and stays: somebody may be waiting at it.

    `holder` is whoever else could have it, in words ("another run in this checkout"). Waiting is said after `quiet_s`
    seconds, and then again and again. Raises Undecided after `patience_s`, or where the file cannot be locked; `mend`
    is then the next step. The lock ends with its process, however that ends.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without flock there is no lock: the package's other way, a file that says "taken", would outlive its process.
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        _wait(lock, path, holder, patience_s, quiet_s)
    except OSError as error:
        raise Undecided(f"the file cannot be locked: {error.strerror}", str(path), mend) from error
    try:
        yield
    finally:
        lock.release()


def _wait(lock: FileLock, path: Path, holder: str, patience_s: float, quiet_s: float) -> None:
    started = time.monotonic()
    speak_at = quiet_s  # seconds after the start, as is all that follows
    while True:
        waited = time.monotonic() - started
        try:
            lock.acquire(timeout=max(0.0, min(speak_at, patience_s) - waited), poll_interval=POLL_S)
            return
        except Timeout:  # an OSError, too
            waited = time.monotonic() - started
        if waited >= patience_s:
            step = "wait for it or end it, then run the same command again"
            raise Undecided(f"{holder} has not ended for {waited:.0f} s", str(path), step)
        if waited >= speak_at:
            so_far = f" ({waited:.0f} s so far)" if waited >= 1 else ""
            note(f"waiting for {holder} to end{so_far} …")
            speak_at = waited + SAY_EVERY_S
