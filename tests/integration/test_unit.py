"""The program that lets compiler calls run as cores and memory allow, with stand-ins for compilers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "images/toolkit/compile/unit"
RULES = "100 *huge*\n4 *large*\n1 *\n"
WITHIN_S = 30
# A compiler that notes when it began and ended: `began NAME`, `ended NAME`, in the order in which it happened.
COMPILER = 'echo "began $1" >>events; echo "ended $1" >>events'
# One that does not end before the test says so.
HELD = 'echo "began $1" >>events; until [ -e released ]; do sleep 0.02; done; echo "ended $1" >>events'


@dataclass(frozen=True)
class Build:
    """A build of one test: its folder, and how much may run at a time."""

    folder: Path
    cores: int = 8
    gib: float = 4
    patience: float = 30

    def __post_init__(self) -> None:
        (self.folder / "state").mkdir()
        (self.folder / "rules").write_text(RULES)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        settings = {
            "UNIT_STATE": str(self.folder / "state"),
            "UNIT_CORES": str(self.cores),
            "UNIT_GIB": str(self.gib),
            "UNIT_RULES": str(self.folder / "rules"),
            "UNIT_LOG": str(self.folder / "log"),
            "UNIT_PATIENCE": str(self.patience),
        }
        return subprocess.Popen(
            [sys.executable, "-IS", str(PROGRAM), *command],
            cwd=self.folder,
            env=os.environ | settings | environment,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_interrupts,
        )

    def compile(self, source: str) -> subprocess.Popen[str]:
        return self.start("sh", "-c", COMPILER, "cc", source, source)

    def hold(self, source: str) -> subprocess.Popen[str]:
        """A compiler that has begun, and goes on until `release`."""
        process = self.queue(source)
        self.wait_until(f"began {source}")
        return process

    def queue(self, source: str) -> subprocess.Popen[str]:
        """A compiler that begins in its turn, and goes on until `release`."""
        return self.start("sh", "-c", HELD, "cc", source, source)

    def release(self) -> None:
        (self.folder / "released").touch()

    @property
    def events(self) -> list[str]:
        path = self.folder / "events"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def log(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "log").read_text().splitlines()]

    @property
    def left(self) -> list[str]:
        return [path.name for path in (self.folder / "state").iterdir() if path.name != "door"]

    def wait_until(self, event: str) -> None:
        wait_for(lambda: event in self.events, event)

    def wait_until_queued(self, count: int) -> None:
        wait_for(lambda: sum(name.startswith("wait") for name in self.left) == count, f"{count} that wait")


def hear_interrupts() -> None:
    """What a script starts in the background ignores SIGINT, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    until = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < until, f"in vain for: {what}"
        time.sleep(0.02)


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    return [process.wait(WITHIN_S) for process in processes]


def most_at_once(events: Sequence[str]) -> int:
    counts = [0]
    for event in events:
        counts.append(counts[-1] + (1 if event.startswith("began") else -1))
    assert counts[-1] == 0
    return max(counts)


@pytest.mark.parametrize(
    ("cores", "gib", "source", "expected"), [(2, 100, "x", 2), (8, 3, "x", 3), (8, 9, "large", 2), (8, 9, "huge", 1)]
)
def test_no_more_run_at_once_than_cores_and_memory_allow(
    cores: int, gib: float, source: str, expected: int, tmp_path: Path
) -> None:
    build = Build(tmp_path, cores, gib)
    processes = [build.queue(f"{source}{number}.cu") for number in range(6)]
    build.wait_until_queued(6 - expected)
    wait_for(lambda: len(build.events) == expected, f"{expected} that run")
    build.release()
    assert finish(processes) == [0] * 6
    assert most_at_once(build.events) == expected
    assert build.left == []


def test_a_small_one_runs_beside_a_large_one_where_another_large_one_cannot(tmp_path: Path) -> None:
    build = Build(tmp_path, gib=6)
    processes = [build.hold("large1.cu"), build.compile("large2.cu")]
    build.wait_until_queued(1)
    processes.append(build.compile("small.cu"))
    build.wait_until("ended small.cu")
    build.release()
    assert finish(processes) == [0, 0, 0]
    assert build.events.index("ended small.cu") < build.events.index("ended large1.cu")
    assert build.events.index("ended large1.cu") < build.events.index("began large2.cu")


@pytest.mark.parametrize(("patience", "first"), [(0.0, "large.cu"), (60.0, "small9.cu")])
def test_one_that_waited_long_is_not_kept_out_by_younger_ones(patience: float, first: str, tmp_path: Path) -> None:
    build = Build(tmp_path, gib=4, patience=patience)
    processes = [build.hold("small0.cu"), build.compile("large.cu")]
    build.wait_until_queued(1)
    processes.append(build.compile("small9.cu"))
    if first == "large.cu":
        build.wait_until_queued(2)
    else:
        build.wait_until(f"began {first}")
    build.release()
    assert finish(processes) == [0, 0, 0]
    began = [event.removeprefix("began ") for event in build.events if event.startswith("began")]
    assert began[:2] == ["small0.cu", first]


def test_what_a_killed_one_held_is_free(tmp_path: Path) -> None:
    build = Build(tmp_path, cores=1)
    killed = build.hold("a.cu")
    waiting = [build.compile(f"{name}.cu") for name in ("b", "c")]
    build.wait_until_queued(2)
    waiting[0].kill()
    waiting[0].wait(WITHIN_S)  # one that is still ending has not left its place in the queue
    killed.kill()
    build.release()  # what it ran is told nothing of its end
    assert finish([killed, *waiting]) == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert "began b.cu" not in build.events and "ended c.cu" in build.events
    assert build.left == []


def test_what_compiles_nothing_does_not_wait(tmp_path: Path) -> None:
    build = Build(tmp_path, cores=1)
    process = build.hold("a.cu")
    assert build.start("true", "--version").wait(WITHIN_S) == 0
    assert build.events == ["began a.cu"]
    build.release()
    assert process.wait(WITHIN_S) == 0
    assert len(build.log) == 1


def test_one_inside_another_does_not_wait_for_it(tmp_path: Path) -> None:
    build = Build(tmp_path, cores=1)
    assert build.start(sys.executable, "-IS", str(PROGRAM), "true", "x.cu").wait(WITHIN_S) == 0


def test_without_a_folder_to_meet_in_nothing_waits(tmp_path: Path) -> None:
    build = Build(tmp_path)
    assert build.start("true", "x.cu", UNIT_STATE="").wait(WITHIN_S) == 0
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("script", "code", "killed"),
    [("exit 3", 3, False), ("kill -9 $$", 137, True), ("kill -11 $$", 139, False), ("exit 137", 137, True)],
)
def test_the_exit_code_is_the_compilers_and_stands_in_the_log(
    script: str, code: int, killed: bool, tmp_path: Path
) -> None:
    build = Build(tmp_path)
    assert build.start("sh", "-c", script, "x.cu").wait(WITHIN_S) == code
    [line] = build.log
    assert line[3:] == [str(code), "x.cu", *["killed"] * killed]


def test_the_log_has_times_and_the_peak_of_the_largest_process(tmp_path: Path) -> None:
    build = Build(tmp_path, cores=1)
    held = build.hold("a.cu")
    script = "import time; x = bytearray(100 << 20); x[::4096] = bytes(len(x[::4096])); time.sleep(0.3)"
    # A child of the command's child, as cicc is one of nvcc's.
    large = build.start("sh", "-c", '"$0" -c "$1"; true', sys.executable, script, "b.cu")
    build.wait_until_queued(1)
    time.sleep(0.5)
    build.release()
    finish([held, large])
    small, line = build.log
    assert small[4] == "a.cu" and float(small[0]) >= 0.5 and int(small[1]) < 100
    assert line[4] == "b.cu" and 0.3 <= float(line[0]) < 20
    assert 100 <= int(line[1]) < 200
    assert float(line[2]) > 0.1, "it waited for the other"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_compiler(number: signal.Signals, tmp_path: Path) -> None:
    build = Build(tmp_path)
    script = f"trap 'echo told >>events; exit 7' {number.name[3:]}; echo began >>events; while :; do sleep 0.05; done"
    process = build.start("sh", "-c", script, "x.cu")
    build.wait_until("began")
    process.send_signal(number)
    assert process.wait(WITHIN_S) == 7
    assert build.events == ["began", "told"]


def test_one_that_waits_ends_by_a_signal(tmp_path: Path) -> None:
    build = Build(tmp_path, cores=1)
    first = build.hold("a.cu")
    second = build.compile("b.cu")
    build.wait_until_queued(1)
    second.send_signal(signal.SIGINT)
    assert second.wait(WITHIN_S) == -signal.SIGINT
    build.release()
    assert finish([second, first]) == [-signal.SIGINT, 0]
    assert second.stderr and second.stderr.read() == ""


def test_ccache_and_nvcc_are_told_in_words_that_both_know(tmp_path: Path) -> None:
    build = Build(tmp_path)
    words = ["--generate-dependencies-with-compile", "--dependency-output", "a.d", "-c", "a.cu"]
    process = build.start("sh", "-c", 'echo "$@" >said', "nvcc", *words)
    assert process.wait(WITHIN_S) == 0
    assert (tmp_path / "said").read_text() == "-MD -MF a.d -c a.cu\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/cuda/bin/nvcc", "-c", "/src/a.cu"], "-c /src/a.cu --frandom-seed=/src/a.cu"),
        (["/cuda/bin/nvcc", "-c", "a.cpp"], "-c a.cpp"),
        (["g++", "-c", "/src/a.cu"], "-c /src/a.cu"),
    ],
)
def test_each_unit_of_nvcc_has_a_seed_of_its_own(words: list[str], said: str, tmp_path: Path) -> None:
    build = Build(tmp_path)
    for seed, expected in (({"UNIT_SEED": "1"}, said), ({}, " ".join(words[1:]))):
        process = build.start("sh", "-c", 'echo "$@" >said', *words, **seed)
        assert process.wait(WITHIN_S) == 0
        assert (tmp_path / "said").read_text() == f"{expected}\n"


@pytest.mark.parametrize(
    ("command", "environment", "code", "said"),
    [
        (["no-such-compiler", "x.cu"], {}, 127, "unit: no-such-compiler: No such file"),
        (["/", "x.cu"], {}, 126, "unit: /: Permission denied"),
        (["true", "x.cu"], {"UNIT_CORES": "many"}, 2, "settings cannot be read"),
        (["true", "x.cu"], {"UNIT_RULES": "/no/such/file"}, 2, "settings cannot be read"),
        ([], {}, 2, "UNIT_CORES"),
    ],
)
def test_what_cannot_run_says_why(
    command: list[str], environment: dict[str, str], code: int, said: str, tmp_path: Path
) -> None:
    build = Build(tmp_path)
    process = build.start(*command, **environment)
    assert process.wait(WITHIN_S) == code
    assert process.stderr and said in process.stderr.read()
    assert build.left == []
