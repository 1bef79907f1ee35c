"""The fuzzer's own processes: what ends one of them, or keeps it for ever, is a finding, and the rest is tried."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import run as module
from tests.fuzz.run import run, split
from tests.fuzz.subject import Subject

COUNT, BAD = 40, 7


def number(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return bytes([random.randrange(16)])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(3)


def hang() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
    while True:
        signal.pause()


@pytest.mark.parametrize(
    ("act", "told"), [(die, "a signal (SIGKILL)"), (leave, "exit code 3"), (hang, "did not hear its timer")]
)
def test_what_ends_or_keeps_a_process_is_a_finding(
    act: Callable[[], None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(data: bytes, folder: Path) -> None:
        if data[0] == BAD:
            act()

    monkeypatch.setattr(module, "HANG_S", 2.0)
    monkeypatch.setattr(module, "BATCH", 10)
    planted = Subject("planted", 1, lambda: [b""], number, call)
    rows = run(split([planted], COUNT), {"planted": [b""]}, 1, 2, 100, lambda rows: None)["planted"]
    assert rows.executions == COUNT, "those after it were tried, too"
    assert rows.findings and all(found.data == bytes([BAD]) and told in found.told for found in rows.findings)


def test_the_session_ends_with_its_time() -> None:
    planted = Subject("planted", 1, lambda: [b""], number, lambda data, folder: signal.sigtimedwait([], 0.1))
    rows = run(split([planted], 100_000), {"planted": [b""]}, 1, 2, 2.0, lambda rows: None)["planted"]
    assert 0 < rows.executions < 1000 and not rows.findings
