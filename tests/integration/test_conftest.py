"""No test hangs: what does not end is ended, and says what it had printed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.integration import conftest
from tests.integration.conftest import TEST_S, VERB_S, finish


def start(code: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)


def test_what_ends_in_time_gives_what_it_printed() -> None:
    process = start("import sys; print('out'); print('err', file=sys.stderr)")
    assert finish(process, 60) == ("out\n", "err\n")
    assert process.returncode == 0


@pytest.mark.parametrize("deaf", ["", "signal.signal(signal.SIGINT, signal.SIG_IGN);"])
def test_what_does_not_end_is_ended_and_shown(deaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "END_S", 2)
    process = start(f"import signal, time; {deaf} print('so far', flush=True); time.sleep(600)")
    assert process.stdout is not None
    with pytest.raises(pytest.fail.Exception, match=r"still running after 5 s[\s\S]*so far"):
        finish(process, 5)
    assert process.wait(10) != 0


def test_a_child_that_holds_the_pipes_open_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "END_S", 1)
    started = time.monotonic()
    process = start("import subprocess; subprocess.Popen(['sleep', '20']); print('done', flush=True)")
    with pytest.raises(pytest.fail.Exception, match="something else holds its output open"):
        finish(process, 5)
    assert time.monotonic() - started < 15


def test_every_test_here_has_a_limit_that_shows_what_a_verb_said_first(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("timeout")
    assert marker and marker.args == (TEST_S,)
    assert VERB_S < TEST_S
