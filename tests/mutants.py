"""Shows that the gates are tested: each mutant of `mutants.toml` must make a test that it names fail.

`nox -s mutants`, or with parts of names: `nox -s mutants -- verdict tolerance`. Ends with 0 if every mutant was killed,
with 1 if one survived or does not fit its file, and with 2 if the tests fail without any.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")
TIMEOUT_S = 600
# What no test needs, some of it large.
_LEFT_OUT = (".git", ".hallmark", ".venv", ".nox", ".hypothesis", "__pycache__", ".*_cache", "*.egg-info")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One change of a file that makes a gate wrong: `old` stands there exactly once; one of `tests` must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """What pytest said: its exit code (0: all passed, 1: some failed, any other: it could not run), and its output."""

    code: int
    output: str


@dataclass(frozen=True)
class Row:
    """What became of a mutant: the test that killed it, or why there is none, and after how many seconds."""

    mutant: str
    killed: bool
    told: str
    seconds: float


RunTests = Callable[[Path, Sequence[str]], Run]


def load_mutants(path: Path = LIST) -> list[Mutant]:
    """The mutants of a list. Raises TypeError for an entry with a key that is missing or unknown."""
    entries = tomllib.loads(path.read_text("utf-8"))["mutant"]
    return [Mutant(**entry | {"tests": tuple(entry["tests"])}) for entry in entries]


def find_faults(root: Path, mutants: Sequence[Mutant]) -> list[str]:
    """One line for each entry that cannot be tried as it is written; the list of an empty list is a fault as well."""
    faults = [] if mutants else ["there is no mutant"]
    names = [mutant.name for mutant in mutants]
    faults += [f"{name}: stands there twice" for name in sorted(set(names)) if names.count(name) > 1]
    for mutant in mutants:
        path = root / mutant.file
        text = path.read_text("utf-8") if path.is_file() else ""
        count = text.count(mutant.old) if mutant.old else 0
        if count != 1:
            faults.append(f"{mutant.name}: its text stands {count} times in {mutant.file}")
        elif path.suffix == ".py" and not _is_python(text.replace(mutant.old, mutant.new)):
            faults.append(f"{mutant.name}: what it makes of {mutant.file} is no Python")
        if mutant.old == mutant.new:
            faults.append(f"{mutant.name}: changes nothing")
        if not mutant.tests:
            faults.append(f"{mutant.name}: names no test")
        faults += [f"{mutant.name}: there is no {test}" for test in mutant.tests if not (root / test).is_file()]
    return faults


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def run_pytest(root: Path, tests: Sequence[str]) -> Run:
    """Run some test files of the tree under `root`, up to the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", *tests]
    # The tree's own modules, and no byte code: two mutants of a file can be of one size and one second.
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return Run(-1, f"the tests did not end within {TIMEOUT_S} s")
    return Run(run.returncode, run.stdout + run.stderr)


def try_mutants(
    root: Path, mutants: Sequence[Mutant], run_tests: RunTests, on_row: Callable[[Row], None], workers: int = 0
) -> list[Row]:
    """Try each mutant in a copy of the tree, several side by side; rows in the list's order."""
    workers = workers or os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="hallmark-mutants-") as folder:
        copies: Queue[Path] = Queue()
        for number in range(min(workers, len(mutants))):
            copies.put(_copy(root, Path(folder) / str(number)))

        def try_one(mutant: Mutant) -> Row:
            copy = copies.get()
            try:
                row = _try(copy, mutant, run_tests)
            finally:
                copies.put(copy)
            on_row(row)
            return row

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(try_one, mutants))


def _copy(root: Path, destination: Path) -> Path:
    shutil.copytree(root, destination, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
    return destination


def _try(root: Path, mutant: Mutant, run_tests: RunTests) -> Row:
    path = root / mutant.file
    text = path.read_text("utf-8")
    started = time.monotonic()
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    try:
        run = run_tests(root, mutant.tests)
    finally:
        path.write_text(text, "utf-8")
    seconds = time.monotonic() - started
    if run.code == 0:
        return Row(mutant.name, False, "SURVIVED", seconds)
    failed = _FAILED.search(run.output)
    if run.code == 1 and failed:
        return Row(mutant.name, True, failed[1], seconds)
    return Row(mutant.name, False, f"NOT TRIED: pytest ended with {run.code}", seconds)


def main(words: Sequence[str], root: Path = ROOT, run_tests: RunTests = run_pytest) -> int:
    """Try the mutants whose names hold one of the words, or all of them; returns the exit code."""
    mutants = load_mutants(root / LIST.relative_to(ROOT))
    mutants = [mutant for mutant in mutants if not words or any(word in mutant.name for word in words)]
    if faults := find_faults(root, mutants):
        print(*faults, sep="\n", file=sys.stderr)
        return 1
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with tempfile.TemporaryDirectory(prefix="hallmark-mutants-") as folder:
        run = run_tests(_copy(root, Path(folder) / "unchanged"), tests)
    if run.code != 0:
        print(run.output, "the tests fail without any mutant", sep="\n", file=sys.stderr)
        return 2
    width = max(len(mutant.name) for mutant in mutants)
    print(f"{'mutant':{width}}  seconds  killed by")
    rows = try_mutants(
        root, mutants, run_tests, lambda row: print(f"{row.mutant:{width}}  {row.seconds:7.1f}  {row.told}", flush=True)
    )
    alive = [row.mutant for row in rows if not row.killed]
    print(
        f"{len(rows) - len(alive)} of {len(rows)} mutants killed", *(f"not killed: {name}" for name in alive), sep="\n"
    )
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
