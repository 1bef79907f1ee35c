"""One subject of the fuzzer: what it is given to begin with, how that is changed, and what may come of it."""

from __future__ import annotations

import resource
import signal
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import TypeVar

from scripts.errors import HallmarkError
from tests.unit.builders import DATA
from tests.unit.conftest import watch_messages

CORPUS = DATA / "fuzz"
CPU_S = 5.0  # of one input; the slowest that is meant to be read takes a tenth
GROWTH = 128 << 20  # bytes that the process may grow by for one input

Mutate = Callable[[Random, bytes, Sequence[bytes]], bytes]
Call = Callable[[bytes, Path], object]
T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """What reads: `call` hands it an input, and a folder that it may write to.

    `share` says how many of a million inputs are its own. `seeds` are inputs that it takes, and `refusals` what it may
    raise besides the project's own errors, for this is what its callers are told to expect. `prepare` is called once,
    before a session of many inputs.
    """

    name: str
    share: int
    seeds: Callable[[], list[bytes]]
    mutate: Mutate
    call: Call
    refusals: tuple[type[Exception], ...] = ()
    prepare: Callable[[], None] = lambda: None

    def corpus(self) -> list[bytes]:
        """What it is given to begin with: its seeds, and the inputs that are kept."""
        return [*self.seeds(), *(path.read_bytes() for path in sorted((CORPUS / self.name).glob("*")))]


def choose(calls: Sequence[T], data: bytes) -> T:
    """One of several readers for an input: always the same one."""
    return calls[zlib.crc32(data) % len(calls)]


@dataclass(frozen=True)
class Finding:
    """What an input did that none may: `kind` is the same for what is probably the same mistake."""

    subject: str
    iteration: int
    kind: str
    told: str
    data: bytes


class TooSlow(BaseException):
    """One input has had its time. Nothing that is tested catches it."""


def make_input(subject: Subject, corpus: Sequence[bytes], seed: int, iteration: int) -> bytes:
    """The input of this number."""
    random = Random(f"{seed} {subject.name} {iteration}")
    return subject.mutate(random, random.choice(corpus), corpus)


def try_input(subject: Subject, data: bytes, folder: Path) -> tuple[str, str] | None:
    """Hand over one input. None where what came is what may come; else the kind of finding, and what is told of it."""
    before = _peak()
    try:
        with watch_messages() as faults, _limiting_time():
            try:
                subject.call(data, folder)
            except HallmarkError as error:
                faults += [] if error.problems else ["an error without a problem"]
            except subject.refusals:
                pass
    except TooSlow:
        return "slow", f"more than {CPU_S:g} s of processor time"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = next((frame for frame in reversed(frames) if "/scripts/" in frame.filename), frames[-1])
        kind = f"{type(error).__name__} in {own.filename.rpartition('/scripts/')[2]}:{own.lineno}"
        return kind, "".join(traceback.format_exception(error, limit=-6))
    if faults:
        return f"message: {faults[0][-60:]}", "\n".join(faults[:3])[:2000]
    if (growth := _peak() - before) > GROWTH:
        return "memory", f"{growth >> 20} MiB more than before"
    return None


def _peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@contextmanager
def _limiting_time() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
