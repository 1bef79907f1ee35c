"""What people see while they wait, by one step or by several at once."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from rich.console import Console

from scripts import console as module
from scripts.console import note, step

Watch = Callable[[bool], io.StringIO]
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Stand in for standard error: a terminal, or not."""

    def make(terminal: bool) -> io.StringIO:
        stream = io.StringIO()
        log = Console(file=stream, force_terminal=terminal, highlight=False, soft_wrap=True, width=120)
        monkeypatch.setattr(module, "log", log)
        return stream

    return make


def test_a_step_says_when_it_begins_and_how_it_ends(watch: Watch) -> None:
    stream = watch(False)
    with step("serve-cpu", "build"):
        assert stream.getvalue() == "serve-cpu build …\n"
    assert stream.getvalue().splitlines()[1].startswith("serve-cpu build ✓ 0.0")


def test_a_step_that_fails_says_so_and_lets_the_reason_through(watch: Watch) -> None:
    stream = watch(False)
    with pytest.raises(KeyError), step("serve-cpu", "build"):
        raise KeyError
    assert stream.getvalue().splitlines()[1].startswith("serve-cpu build ✗ ")


def test_without_a_terminal_a_sign_of_life_comes_now_and_then(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = watch(False)
    with step("serve-cpu", "build") as update:
        update("too soon")
        monkeypatch.setattr(module, "QUIET_S", -1.0)
        update("still [running]")
    assert "too soon" not in stream.getvalue() and "0s: still [running]" in stream.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", ["[/]", "a[/b].so", "x[bold]y", "a\\"])
def test_a_step_can_be_called_anything(name: str, terminal: bool, watch: Watch) -> None:
    stream = watch(terminal)
    with step(name, "audit") as update:
        update(f"reading {name}")
    note(f"read {name}")
    assert name in stream.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_steps_within_one_another_end_in_order(terminal: bool, watch: Watch) -> None:
    stream = watch(terminal)
    with step("one", "build") as first, step("two", "fetch") as second:
        first("a")
        second("b")
    text = CODES.sub("", stream.getvalue())
    assert text.index("two fetch ✓") < text.index("one build ✓")
    with step("three", "build"):
        pass
    assert "three" in stream.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("longer", [0, 1])
def test_two_steps_at_once_do_not_disturb_each_other(longer: int, terminal: bool, watch: Watch) -> None:
    stream = watch(terminal)
    begun, ended = Barrier(2), Barrier(2)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            with step(f"cell{number}", "build") as update:
                begun.wait(5)
                update("working")
                if number == longer:
                    ended.wait(5)
                    update("still working")
            if number != longer:
                ended.wait(5)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    text = stream.getvalue()
    assert text.count("✓") == 2 and "✗" not in text
    with step("after", "build") as update:  # the line is free again
        update("working")
    assert "after" in stream.getvalue()


def test_the_line_is_free_again_after_a_failure(watch: Watch) -> None:
    stream = watch(True)
    for _ in range(2):
        with pytest.raises(KeyError), step("one", "build"):
            raise KeyError
    assert stream.getvalue().count("✗") == 2
    assert not module._live.locked()
