"""Fuzz every reader of foreign bytes: python -m tests.fuzz [--subject NAME …] [--executions N] [--seed S] [--time T]

Each input is made from a number, out of one that is right: the same seed and number, the same input. What may come of
it is a result, or an error of the project's own that says what, where and what next. Anything else is a finding:
another exception, more than five seconds of a processor, more than 128 MiB, a line that cannot be shown, a process that
dies. Its input is kept, and the run ends with 1. `--input FILE` tries one again, and shows where it leads.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

from tests.fuzz.run import Row, first_of_each_kind, run, show_table, split
from tests.fuzz.subject import Subject, try_input
from tests.fuzz.subjects import SUBJECTS

KEPT = Path(__file__).resolve().parents[2] / ".hallmark/fuzz"
EXECUTIONS = 1_000_000
SAY_S = 30.0  # without a terminal


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--subject", action="append", choices=[*SUBJECTS], help="of all of them, unless given")
    parser.add_argument("--executions", type=int, default=EXECUTIONS, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time", type=float, default=3600.0, help="seconds after which it ends in any case")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--input", type=Path, help="try this one input of one subject")
    options = parser.parse_args(arguments)
    subjects = [SUBJECTS[name] for name in options.subject or SUBJECTS]
    with tempfile.TemporaryDirectory(prefix="hallmark-fuzz-") as folder:
        tempfile.tempdir = folder  # what subjects make for themselves goes with it
        return try_again(subjects, options.input) if options.input else fuzz(subjects, options)


def fuzz(subjects: list[Subject], options: argparse.Namespace) -> int:
    """A session: its exit code, once what was found and the table are printed."""
    for subject in subjects:
        subject.prepare()
    corpora = {subject.name: subject.corpus() for subject in subjects}
    if wrong := find_wrong_seeds(subjects, corpora):
        print("\n".join(wrong))
        return 1
    started = time.monotonic()
    say = _Progress(options.executions)
    rows = run(split(subjects, options.executions), corpora, options.seed, options.jobs, options.time, say.tell)
    for finding, count in first_of_each_kind(rows):
        KEPT.mkdir(parents=True, exist_ok=True)
        path = KEPT / f"{finding.subject}-{hashlib.sha256(finding.data).hexdigest()[:12]}"
        path.write_bytes(finding.data)
        times = f" (and {count - 1} more)" if count > 1 else ""
        print(f"\n{finding.subject}, seed {options.seed}, iteration {finding.iteration}: {finding.kind}{times}")
        print(f"{finding.told.strip()[-3000:]}\n  kept: {path}\n  again: --subject {finding.subject} --input {path}")
    clock = f"{time.monotonic() - started:.0f} s by the clock, {options.jobs} jobs"
    print("\n".join(["", *show_table(rows), "", clock]))
    return 1 if any(row.findings for row in rows.values()) else 0


def find_wrong_seeds(subjects: list[Subject], corpora: Mapping[str, list[bytes]]) -> list[str]:
    """A line for each input of a corpus that is a finding already. What is imported on the way is there for all."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="hallmark-fuzz-") as folder, redirect_stdout(io.StringIO()):
        for subject in subjects:
            for number, data in enumerate(corpora[subject.name]):
                if found := try_input(subject, data, Path(folder)):
                    lines.append(f"{subject.name}, number {number} of its corpus: {found[0]}\n{found[1]}")
    return lines


def try_again(subjects: list[Subject], path: Path) -> int:
    """One input, in this process: what is wrong with it."""
    if len(subjects) != 1:
        sys.exit("say with --subject whose input it is")
    with tempfile.TemporaryDirectory(prefix="hallmark-fuzz-") as folder:
        found = try_input(subjects[0], path.read_bytes(), Path(folder))
    print(f"{found[0]}\n{found[1]}" if found else "nothing is wrong with it")
    return 1 if found else 0


class _Progress:
    """Says now and then how far it is: in one line of a terminal, else in a line each time."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = self._said = time.monotonic()

    def tell(self, rows: Mapping[str, Row]) -> None:
        now, live = time.monotonic(), sys.stderr.isatty()
        if now - self._said < (1.0 if live else SAY_S):
            return
        self._said = now
        done = sum(row.executions for row in rows.values())
        findings = sum(len(row.findings) for row in rows.values())
        rate = done / (now - self._started)
        line = f"{done:,} of {self._total:,} executions, {rate:,.0f}/s, {findings} findings"
        print(f"\r{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
