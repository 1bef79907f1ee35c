"""What people see while they wait: a line a step, a bar where there is a terminal; on stderr, results on stdout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

log = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
out = Console(highlight=False, emoji=False, soft_wrap=True)
QUIET_S = 30.0  # without a terminal, a sign of life this often

_live = Lock()

Update = Callable[[str], None]


@contextmanager
def step(cell: str, stage: str) -> Iterator[Update]:
    """Announce a stage of a cell, then say how it ended and how many seconds it took.

    Yields a function that takes what the stage is doing just now: shown in place, or now and then without a terminal.
    """
    started = spoke = time.monotonic()
    heading = f"[bold]{escape(cell)}[/] {stage}"
    log.print(f"{heading} …")
    # One line of the terminal can be written over; what runs beside its owner prints lines of its own.
    owns_line = log.is_terminal and _live.acquire(blocking=False)

    def update(text: str) -> None:
        nonlocal spoke
        if owns_line:
            status.update(f"{heading} [dim]{escape(text[: log.width - 30])}[/]")
        elif time.monotonic() - spoke > QUIET_S:
            spoke = time.monotonic()
            log.print(f"{heading} {spoke - started:.0f}s: {escape(text[:100])}")

    status = log.status(heading)
    try:
        with status if owns_line else nullcontext():
            yield update
    except BaseException:
        log.print(f"{heading} [red]✗[/] {time.monotonic() - started:.2f}s")
        raise
    finally:
        if owns_line:
            _live.release()
    log.print(f"{heading} [green]✓[/] {time.monotonic() - started:.2f}s")


def note(text: str) -> None:
    """A line of information that belongs to no step."""
    log.print(text, markup=False)


def make_transfer_progress() -> Progress:
    """A bar per file and one in all; without a terminal, only what its user prints itself."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=log, transient=True, disable=not log.is_terminal)
