"""One holder at a time, between threads, processes and users of this machine: a lock on a file."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from scripts.console import note
from scripts.errors import Undecided

SAY_EVERY_S = 60.0
POLL_S = 0.2
MEND = "make it writable for whoever runs this"


@contextmanager
def hold(
    path: Path, holder: str, *, patience_s: float = math.inf, quiet_s: float = 0.0, mend: str = MEND
) -> Iterator[None]:
    """Hold the lock of a file, as `hold_one` does of several."""
    with hold_one([path], holder, patience_s=patience_s, quiet_s=quiet_s, mend=mend):
        yield


@contextmanager
def hold_one(
    paths: Sequence[Path], holder: str, *, patience_s: float = math.inf, quiet_s: float = 0.0, mend: str = MEND
) -> Iterator[Path]:
    """Hold the lock of whichever file is free first; they are made where they are missing, and stay: somebody may wait.

    `holder` is whoever else could have it, in words ("another run in this checkout"). Waiting is said after `quiet_s`
    seconds, and then again and again. Raises Undecided after `patience_s`, or where a file cannot be locked; `mend`
    is then the next step. The lock ends with its process, however that ends.
    """
    place = ", ".join(map(str, paths))
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        # Without flock there is no lock: the package's other way, a file that says "taken", would outlive its process.
        locks = {path: FileLock(path, thread_local=False, fallback_to_soft=False) for path in paths}
        held = _wait(locks, place, holder, patience_s, quiet_s)
    except OSError as error:
        raise Undecided(f"the file cannot be locked: {error.strerror}", place, mend) from error
    try:
        yield held
    finally:
        locks[held].release()


def _wait(locks: Mapping[Path, FileLock], place: str, holder: str, patience_s: float, quiet_s: float) -> Path:
    started = time.monotonic()
    speak_at = quiet_s  # seconds after the start, as is all that follows
    while True:
        for path, lock in locks.items():
            with suppress(Timeout):  # an OSError, too
                lock.acquire(timeout=0)
                return path
        waited = time.monotonic() - started
        if waited >= patience_s:
            step = "wait for it or end it, then run the same command again"
            raise Undecided(f"{holder} has not ended for {waited:.0f} s", place, step)
        if waited >= speak_at:
            so_far = f" ({waited:.0f} s so far)" if waited >= 1 else ""
            note(f"waiting for {holder} to end{so_far} …")
            speak_at = waited + SAY_EVERY_S
        time.sleep(min(POLL_S, patience_s - waited))
