"""One holder at a time, who is waited for aloud."""

from __future__ import annotations

import fcntl
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from scripts import locks
from scripts.errors import Undecided
from scripts.locks import hold, hold_one

HOLDER = "another run"


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was said while waiting; and nobody waits long between two looks."""
    lines: list[str] = []
    monkeypatch.setattr(locks, "note", lines.append)
    monkeypatch.setattr(locks, "POLL_S", 0.005)
    return lines


def is_free(path: Path) -> bool:
    """Whether the kernel would give the lock to another process: a second opening of the file is as good as one."""
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def test_a_lock_is_held_for_a_block_and_its_file_stays(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "deep/lock"
    with hold(path, HOLDER):
        assert not is_free(path)
    assert path.exists() and is_free(path)
    assert said == []


def test_a_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), hold(tmp_path / "lock", HOLDER):
            raise error
        assert is_free(tmp_path / "lock")


def test_what_the_block_raises_is_no_fault_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), hold(tmp_path / "lock", HOLDER):
        raise PermissionError(13, "of the block")


def test_a_lock_ends_with_its_process_for_it_is_one_of_the_kernel(tmp_path: Path) -> None:
    """A process that dies has its files closed, and does nothing more."""
    handle = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(Undecided), hold(tmp_path / "lock", HOLDER, patience_s=0.02):
        pytest.fail("two holders of one lock")
    os.close(handle)
    with hold(tmp_path / "lock", HOLDER, patience_s=0):
        assert not is_free(tmp_path / "lock")


def test_a_file_system_without_such_locks_is_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Undecided, match="cannot be locked: Function not implemented"), hold(tmp_path / "lock", HOLDER):
        pytest.fail("nothing holds it")


def test_two_threads_never_hold_one_lock(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(10):
            with hold(tmp_path / "lock", HOLDER):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (40, 1)


def test_a_lock_is_taken_once_it_is_free(tmp_path: Path, said: list[str]) -> None:
    release, taken = threading.Event(), threading.Event()

    def first() -> None:
        with hold(tmp_path / "lock", HOLDER):
            taken.set()
            release.wait(30)

    def second() -> None:
        with hold(tmp_path / "lock", HOLDER):
            taken.set()

    threads = [threading.Thread(target=first)]
    threads[0].start()
    taken.wait(30)
    taken.clear()
    threads.append(threading.Thread(target=second))
    threads[1].start()
    wait_until(lambda: bool(said))
    assert not taken.is_set()
    release.set()
    for thread in threads:
        thread.join(30)
    assert taken.is_set() and said == ["waiting for another run to end …"]


def test_of_several_the_first_that_is_free_is_held_and_the_others_are_not(tmp_path: Path, said: list[str]) -> None:
    paths = [tmp_path / name for name in "abc"]
    release, held = [threading.Event(), threading.Event()], threading.Barrier(3)

    def other(number: int) -> None:
        with hold(paths[number], HOLDER):
            held.wait(30)
            release[number].wait(30)

    threads = [threading.Thread(target=other, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    held.wait(30)
    with hold_one(paths, HOLDER) as path:
        assert path == paths[2] and said == []
    timer = threading.Timer(0.05, release[1].set)
    timer.start()
    with hold_one(paths[:2], HOLDER) as path:
        assert path == paths[1] and not is_free(paths[0]) and not is_free(path)
    with pytest.raises(Undecided) as caught, hold_one(paths[:1], HOLDER, patience_s=0):
        pytest.fail("two holders of one lock")
    assert caught.value.problems[0].place == str(paths[0]) and is_free(paths[1])
    release[0].set()
    for thread in (*threads, timer):
        thread.join(30)


# --- who waits, and for how long


def wait_for(monkeypatch: pytest.MonkeyPatch, seconds: float, **options: float) -> None:
    """Wait for a lock that is never free, with a clock that runs as fast as it is looked at, for so many seconds."""
    clock = [0.0]

    class Busy:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def acquire(self, timeout: float) -> None:
            assert timeout == 0
            raise filelock.Timeout("lock")

    def sleep(duration: float) -> None:
        assert 0 < duration < math.inf
        clock[0] += max(duration, 10.0)
        if clock[0] >= seconds:
            raise KeyboardInterrupt

    monkeypatch.setattr(locks, "FileLock", Busy)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    with hold(Path("/tmp/never-made"), HOLDER, **options):  # type: ignore[arg-type]
        pytest.fail("it is never free")


def test_who_waits_for_ever_says_so_at_once_and_every_minute(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        wait_for(monkeypatch, seconds=200)
    assert said == [
        "waiting for another run to end …",
        "waiting for another run to end (60 s so far) …",
        "waiting for another run to end (120 s so far) …",
        "waiting for another run to end (180 s so far) …",
    ]


def test_a_short_wait_may_be_a_quiet_one(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        wait_for(monkeypatch, seconds=130, quiet_s=60)
    assert said == [
        "waiting for another run to end (60 s so far) …",
        "waiting for another run to end (120 s so far) …",
    ]


def test_patience_ends_and_names_who_had_it(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Undecided, match="another run has not ended for 90 s") as caught:
        wait_for(monkeypatch, seconds=1000, patience_s=90)
    [problem] = caught.value.problems
    assert problem.place == "/tmp/never-made" and "wait for it or end it" in problem.next_step
    assert len(said) == 2


def test_a_place_that_cannot_be_locked_is_named_with_what_mends_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file/deep/lock"
    with (
        pytest.raises(Undecided, match="cannot be locked: Not a directory") as caught,
        hold(path, HOLDER, mend="put it elsewhere"),
    ):
        pytest.fail("nothing holds it")
    assert (caught.value.problems[0].place, caught.value.problems[0].next_step) == (str(path), "put it elsewhere")
