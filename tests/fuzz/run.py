"""Running the subjects: batches of inputs, each batch in a process of its own, which may hang, die or grow."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.fuzz.subject import Finding, Subject, make_input, try_input

BATCH = 500  # executions of one process
HANG_S = 600.0  # by the clock, for on a busy machine an input may wait long for its seconds of a processor
ADDRESSES = 16 << 30  # bytes of addresses that a process may have: a layer may claim to have a library of 2 GiB
_FORK = get_context("fork")
_Tell = Callable[[int], None]


@dataclass
class Row:
    """What became of a subject: `seconds` are of processors."""

    executions: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """The inputs of a subject from one number to another."""

    subject: Subject
    first: int
    end: int


def split(subjects: Sequence[Subject], executions: int) -> list[Batch]:
    """So many executions in batches, each subject by its share, the batches of all side by side."""
    shares = sum(subject.share for subject in subjects)
    placed = []
    for subject in subjects:
        count = max(1, round(executions * subject.share / shares))
        for first in range(0, count, BATCH):
            placed.append((first / count, Batch(subject, first, min(count, first + BATCH))))
    return [batch for _, batch in sorted(placed, key=lambda pair: (pair[0], pair[1].subject.name))]


def run_batch(batch: Batch, corpus: Sequence[bytes], seed: int, folder: Path, tell: _Tell, deadline: float) -> Row:
    """Try a batch's inputs, in this process; `tell` is told the number of each before it is tried."""
    row, started = Row(), time.process_time()
    for iteration in range(batch.first, batch.end):
        if time.monotonic() > deadline:
            break
        tell(iteration)
        data = make_input(batch.subject, corpus, seed, iteration)
        if found := try_input(batch.subject, data, folder):
            row.findings.append(Finding(batch.subject.name, iteration, *found, data))
        row.executions += 1
    row.seconds = time.process_time() - started
    return row


class _Worker:
    """A process that tries a batch. What it is at stands in memory that it shares with its parent."""

    def __init__(self, batch: Batch, corpus: Sequence[bytes], seed: int, deadline: float) -> None:
        self.batch, self._corpus, self._seed = batch, corpus, seed
        self._at: Any = _FORK.Value(ctypes.c_longlong, batch.first, lock=False)
        self._seen, self._since = batch.first, time.monotonic()
        self._parent = os.getpid()
        self.answer, end = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(target=self._work, args=(end, deadline), daemon=True)
        self._process.start()
        end.close()

    def _work(self, end: Connection, deadline: float) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        quiet = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(quiet, stream)
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(prefix="hallmark-fuzz-", dir=place) as folder:
            end.send(run_batch(self.batch, self._corpus, self._seed, Path(folder), self._tell, deadline))

    def _tell(self, iteration: int) -> None:
        if os.getppid() != self._parent:  # nobody will ask for what is found any more
            os._exit(1)
        self._at.value = iteration

    def collect(self) -> tuple[Row, Batch | None]:
        """What came of it, and what is left of its batch where it died on the way."""
        try:
            row: Row = self.answer.recv()
            self._process.join()
            return row, None
        except EOFError:
            self._process.join()
        code = self._process.exitcode
        how = f"a signal ({signal.Signals(-code).name})" if code and code < 0 else f"exit code {code}"
        return self._lost(f"the process was ended by {how}")

    def end_if_hanging(self) -> tuple[Row, Batch | None] | None:
        """As `collect`, of one that has been at one input for too long."""
        if self._at.value != self._seen:
            self._seen, self._since = self._at.value, time.monotonic()
        if time.monotonic() - self._since < HANG_S:
            return None
        self.end()
        return self._lost(f"it took more than {HANG_S:g} s, and did not hear its timer")

    def end(self) -> None:
        self._process.kill()
        self._process.join()

    def _lost(self, how: str) -> tuple[Row, Batch | None]:
        at, subject = self._at.value, self.batch.subject
        data = make_input(subject, self._corpus, self._seed, at)
        row = Row(at - self.batch.first + 1, 0.0, [Finding(subject.name, at, "died", how, data)])
        return row, Batch(subject, at + 1, self.batch.end) if at + 1 < self.batch.end else None


def run(
    batches: Sequence[Batch],
    corpora: Mapping[str, Sequence[bytes]],
    seed: int,
    jobs: int,
    limit_s: float,
    tell: Callable[[Mapping[str, Row]], None],
) -> dict[str, Row]:
    """Run batches, so many at a time, until all are done or the time is over; `tell` is told how far they are."""
    rows = {batch.subject.name: Row() for batch in batches}
    deadline = time.monotonic() + limit_s
    left, workers = list(reversed(batches)), list[_Worker]()
    try:
        while workers or (left and time.monotonic() < deadline):
            while left and len(workers) < jobs and time.monotonic() < deadline:
                batch = left.pop()
                workers.append(_Worker(batch, corpora[batch.subject.name], seed, deadline))
            ready = wait([worker.answer for worker in workers], timeout=1.0)
            for worker in list(workers):
                ended = worker.collect() if worker.answer in ready else worker.end_if_hanging()
                if ended is None:
                    continue
                workers.remove(worker)
                row, rest = ended
                _add(rows[worker.batch.subject.name], row)
                left += [rest] if rest else []
            tell(rows)
    finally:
        for worker in workers:
            worker.end()
    return rows


def _add(total: Row, row: Row) -> None:
    total.executions += row.executions
    total.seconds += row.seconds
    total.findings += row.findings


def first_of_each_kind(rows: Mapping[str, Row]) -> Iterator[tuple[Finding, int]]:
    """The first finding of each kind, and how many there are."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for row in rows.values():
        for finding in row.findings:
            kinds.setdefault((finding.subject, finding.kind), []).append(finding)
    for found in kinds.values():
        yield min(found, key=lambda finding: finding.iteration), len(found)


def show_table(rows: Mapping[str, Row]) -> list[str]:
    """A row of Markdown for each subject, and one for all."""
    total = Row()
    lines = ["| Subject | executions | seconds | findings |", "|---|---|---|---|"]
    for name, row in rows.items():
        _add(total, row)
        lines.append(f"| {name} | {row.executions:,} | {row.seconds:.0f} | {len(row.findings)} |")
    return [*lines, f"| all | {total.executions:,} | {total.seconds:.0f} | {len(total.findings)} |"]
