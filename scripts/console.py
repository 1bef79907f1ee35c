"""What people see while they wait: a line a step, a bar where there is a terminal; on stderr, results on stdout.

Nothing else writes to either. Whatever is shown goes through `scripts.text`, as one line, whoever wrote it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from scripts.errors import Undecided
from scripts.text import one_line


class _Console(Console):
    """A console whose reader may go away: that is for the program to hear of, and no reason to end it with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


log = _Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
_LONGEST_NAME = 200  # characters: a line of progress is to stay a line
QUIET_S = 30.0  # without a terminal, a sign of life this often

_live = Lock()

Update = Callable[[str], None]


@contextmanager
def step(cell: str, stage: str) -> Iterator[Update]:
    """Announce a stage of a cell, then say how it ended and how many seconds it took.

    Yields a function that takes what the stage is doing just now: shown in place, or now and then without a terminal.
    """
    started = spoke = time.monotonic()
    heading = f"[bold]{escape(one_line(cell, _LONGEST_NAME))}[/] {stage}"
    log.print(f"{heading} …")
    # One line of the terminal can be written over; what runs beside its owner prints lines of its own.
    owns_line = log.is_terminal and _live.acquire(blocking=False)

    def update(text: str) -> None:
        nonlocal spoke
        if owns_line:
            status.update(f"{heading} [dim]{escape(one_line(text, max(40, log.width - 30)))}[/]")
        elif time.monotonic() - spoke > QUIET_S:
            spoke = time.monotonic()
            log.print(f"{heading} {spoke - started:.0f}s: {escape(one_line(text, _LONGEST_NAME))}")

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
    tell([text])


def tell(lines: Sequence[str], style: str = "") -> None:
    """Lines on standard error, such as a problem's, in a style of the terminal's."""
    for line in lines:
        log.print(one_line(line), style=style, markup=False)


def show(*lines: str) -> None:
    """Lines of a result on standard output, each made safe. Raises Undecided where it cannot be written."""
    with naming_lost_output():
        for line in lines:
            _write(one_line(line))


def show_document(text: str) -> None:
    """A result for machines, such as JSON, on standard output. Raises Undecided where it cannot be written."""
    with naming_lost_output():
        print(text)


@contextmanager
def naming_lost_output() -> Iterator[None]:
    """Turn what keeps a result from being written into an Undecided; a reader that has gone stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Undecided(
            f"the result cannot be written: {error.strerror}", "standard output", "mend that, and run this again"
        ) from error


def _write(line: str) -> None:
    print(line)


def make_transfer_progress() -> Progress:
    """A bar per file and one in all; without a terminal, only what its user prints itself."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=log, transient=True, disable=not log.is_terminal)
