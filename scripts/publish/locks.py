"""One writer per tag: a lock on a file of this machine, for a registry has no compare-and-swap."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.errors import Undecided
from scripts.files import content_id

PATIENCE = 600.0  # seconds; a promotion takes a few, but its registry may be retried
PAUSE = 0.5  # seconds between looks


@contextmanager
def hold_tag(folder: Path, reference: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold the lock of `repository:tag`. Raises Undecided where another process keeps it, or the folder is not ours.

    The file stays behind: removing it would let a third process lock a new file beside one that is still held.
    """
    path = folder / f"{content_id(reference)}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        cause = f"the lock of {reference} cannot be opened ({error.strerror})"
        raise Undecided(cause, str(path), "make the folder writable for whoever promotes") from error
    try:
        for _ in range(int(PATIENCE / PAUSE)):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                sleep(PAUSE)
        else:
            cause = f"another process has been promoting {reference} for {PATIENCE:.0f} s"
            raise Undecided(cause, str(path), "wait for it or end it, then run the same command again")
        yield
    finally:
        os.close(handle)  # and with it the lock
