"""The command line from outside: exit codes, and no traceback for anything that a user can cause."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import scripts.__main__ as entry
from scripts import console, verbs
from scripts.command import main, make_parser
from scripts.errors import BuildFailed, ConfigError, ExitCode, Problem, Undecided
from scripts.verbs.selection import read_selection
from tests.unit.builders import MATRIX, REPOSITORY_ROOT, edit, write_locked_project, write_project
from tests.unit.conftest import find_faults_of_line

VERBS = ["plan", "lock", "fetch", "build", "smoke", "publish", "audit", "slim", "sizes", "verdict"]
VERBS += ["reproduce", "engine", "clean", "compare", "doctor", "serve", "verify", "bundle", "history"]


@pytest.fixture(autouse=True)
def _keep_the_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(autouse=True)
def _no_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("HALLMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(monkeypatch: pytest.MonkeyPatch, outcome: int | BaseException) -> int:
    """Run a verb that ends like this."""

    def verb(root: Path, options: argparse.Namespace) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(verbs, "plan", verb)
    return main(["plan"])


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (ExitCode.ACCEPTED, 0),
        (ExitCode.REJECTED, 1),
        (ConfigError("bad"), 2),
        (Undecided("no disk"), 3),
        (BuildFailed("no rule"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_how_a_verb_ends_is_the_exit_code(
    outcome: Any, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, outcome) == code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    assert bool(printed.err) == (code > 1), "whoever is stopped is told why"


def test_every_problem_is_printed_with_its_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, ConfigError([Problem("a [bold] one", "here", "mend it"), Problem("another")]))
    printed = capsys.readouterr()
    assert printed.err == "error: here: a [bold] one\n  next: mend it\nerror: another\n"
    assert printed.out == ""


def test_an_interruption_says_that_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, KeyboardInterrupt())
    assert "what was finished is kept" in capsys.readouterr().err


def test_sigterm_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def verb(root: Path, options: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr(verbs, "plan", verb)
    assert main(["plan"]) == 130


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, ZeroDivisionError())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "VERB"),
        (["paln"], "paln"),
        (["plan", "--jsn"], "--jsn"),
        (["plan", "--json", "--bake"], "not allowed with"),
        (["plan", "--image"], "--image"),
        (["engine"], "action"),
        (["engine", "sideways"], "sideways"),
        (["clean", "everything"], "everything"),
    ],
)
def test_a_wrong_command_line_is_2_and_says_what_is_wrong(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_every_verb_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m scripts")


def test_options_make_a_selection() -> None:
    options = make_parser().parse_args(
        ["build", "a-*", "b", "--image", "x", "--image", "y", "--cuda", "cpu", "--target", "5090", "--recipe", "wheel"]
    )
    selection = read_selection(options)
    assert (selection.patterns, selection.images, selection.cuda) == (["a-*", "b"], ["x", "y"], ["cpu"])
    assert (selection.targets, selection.recipes) == (["5090"], ["wheel"])


# --- verbs that need no engine and no network, on a project of files


@pytest.fixture
def project(tmp_path: Path) -> list[str]:
    write_locked_project(tmp_path)
    return ["--project", str(tmp_path)]


def test_a_plan_is_shown_as_a_table(project: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*project, "plan", "serve-*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "cell",
        "serve-cu128-5090",
        "serve-cu128-5090-wheel",
        "serve-cu130-5090-wheel",
        "serve-cpu",
        "4",
    ]
    assert lines[-2].split()[-1] == "ready"
    assert lines[-1] == "4 cells, 1 ready"


def test_ten_thousand_cells_are_planned_at_once(
    project: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = next(line for line in MATRIX.splitlines() if line.startswith("5090 = "))
    others = [line.replace("5090", f"g{number}") for number in range(1666)]
    edit(tmp_path / "matrix.toml", line, "\n".join([line, *others]))
    main([*project, "plan", "serve-cpu"])  # its modules are imported once
    started = time.process_time()
    assert main([*project, "plan"]) == 0
    seconds = time.process_time() - started
    assert capsys.readouterr().out.splitlines()[-1].startswith("10004 cells, ")
    assert seconds < 4, "it takes less than two, and took fifty"


def test_a_plan_for_machines_is_json_and_nothing_else(project: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*project, "plan", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["include"]) == 8
    assert main([*project, "plan", "--bake"]) == 0
    assert list(json.loads(capsys.readouterr().out)["target"]) == ["base", "serve-cpu", "train-cpu"]


def test_locks_are_checked(project: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*project, "lock", "--check"]) == 0
    said = capsys.readouterr().err
    assert "4 locks fit the matrix" in said
    assert "2 of 2 sets of wheels were not compared path by path: their RECORDs are not here" in said
    edit(tmp_path / "matrix.toml", 'uv = "0.9.1"', 'uv = "0.9.2"')
    assert main([*project, "lock", "--check"]) == 2
    assert "matrix.lock: the lock is older" in capsys.readouterr().err


def test_what_was_never_built_is_undecided(project: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*project, "verdict", "*-cpu"]) == 3
    assert "serve-cpu: not built yet" in capsys.readouterr().out


def test_a_cell_that_nobody_can_build_yet_is_undecided_too(
    project: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "verdict", "serve-cu*"]) == 3
    assert "has no [recipe." in capsys.readouterr().out
    assert main([*project, "verdict", "nothing-*"]) == 2


@pytest.mark.parametrize("verb", ["fetch", "build", "smoke", "publish", "sizes", "reproduce"])
@pytest.mark.parametrize(("pattern", "said"), [("nothing-*", "no cell matches"), ("serve-cu*", "not built yet")])
def test_a_selection_that_cannot_be_followed_is_2(
    verb: str, pattern: str, said: str, project: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, verb, pattern]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / ".hallmark").exists(), "nothing was begun"


def test_a_variable_that_nothing_reads_is_2(
    project: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALLMARK_REGISTERY", "x")
    assert main([*project, "build", "serve-cpu"]) == 2
    assert "HALLMARK_REGISTERY" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["plan"], ["lock", "--check"], ["build"], ["clean"]])
def test_a_folder_that_is_no_checkout_is_2(verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--project", str(tmp_path / "nothing"), *verb]) == 2
    assert "matrix.toml: the file is missing" in capsys.readouterr().err


def test_a_project_without_locks_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_project(tmp_path)
    assert main(["--project", str(tmp_path), "verdict", "serve-cpu"]) == 2
    assert "next: run `nox -s lock`" in capsys.readouterr().err


class Lost(io.StringIO):
    """A standard output that cannot be written to; what is held back is lost when it is flushed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def flush(self) -> None:
        raise OSError(self._number, os.strerror(self._number))


def test_a_reader_that_has_gone_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, BrokenPipeError()) == 130
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Lost(errno.EPIPE))
        assert run(patch, 0) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("outcome", [0, 1, SystemExit(0)])
def test_a_result_that_cannot_be_written_is_undecided(
    outcome: int | SystemExit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Lost(errno.ENOSPC))
        assert run(patch, outcome) == 3
    assert "standard output: the result cannot be written: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x/Dockerfile"), "/x/Dockerfile: cannot be read or"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/" + "d/" * 3000), "File name too long"),
        (OSError("an error of its own"), "this machine: cannot be read or written: an error of its own"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), "a\\udcff: a name that is not UTF-8"),
        (RecursionError(), "lie deeper in one another"),
        (MemoryError(), "there is not enough memory"),
    ],
)
def test_what_only_the_surroundings_can_be_blamed_for_is_undecided(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, error) == 3
    printed = capsys.readouterr().err
    assert said in printed and "\n  next: " in printed
    assert all(len(line) <= 2000 for line in printed.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [["audit", "", "--target", "5090"], ["audit", "x", "--target", "5090", "--policy", ""], ["plan", "--only="]],
)
def test_an_empty_argument_is_a_variable_that_nobody_set(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "is empty: is a variable not set?" in capsys.readouterr().err


def test_what_is_for_the_engine_may_be_empty() -> None:
    options = make_parser().parse_args(["serve", "a", "b", "--env", "X=", "--", "", "--y="])
    assert (options.env, options.arguments) == (["X="], ["", "--y="])


@settings(max_examples=40)  # each makes all of the parsers
@given(st.text(max_size=20) | st.sampled_from(["\n::error::x", "\x1b[2J", "\u202e", "\udcff"]))
def test_a_wrong_argument_is_quoted_on_one_line(text: str) -> None:
    log = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "log", Console(file=log, soft_wrap=True, highlight=False, width=120))
        with suppress(SystemExit):  # argparse takes what has a space in it for no option
            assert main(["plan", f"--x{text}"]) == 2
    lines = log.getvalue().splitlines()
    assert log.getvalue().count("\n") == len(lines) and lines[-1].startswith("  next: ")
    assert [fault for line in lines for fault in find_faults_of_line(line)] == []


def test_a_project_that_is_a_link_to_itself_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert main(["--project", str(tmp_path / "loop"), "plan"]) == 2
    assert "next: give the folder of a checkout" in capsys.readouterr().err


def test_letters_that_the_terminal_lacks_are_no_reason_to_end(project: list[str]) -> None:
    raw = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        stream = io.TextIOWrapper(raw, "ascii")
        patch.setattr(sys, "stdout", stream)
        assert main([*project, "plan", "*-cpu"]) == 0
        assert b"\\u2013" in raw.getvalue()


def test_ctrl_c_while_modules_are_imported_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    during: list[Any] = []

    def run_command(arguments: object) -> int:
        return 7

    class Module:
        @property
        def main(self) -> object:
            during.append(signal.getsignal(signal.SIGINT))
            return run_command

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setitem(sys.modules, "scripts.command", Module())
        assert entry.main([]) == 7
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "then it is the verb's again"
    finally:
        signal.signal(signal.SIGINT, before)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    during[0](signal.SIGINT, None)
    assert ended == [130]


def test_the_default_project_is_the_checkout_itself() -> None:
    assert make_parser().parse_args(["plan"]).project == REPOSITORY_ROOT


@pytest.mark.parametrize(
    ("program", "name"), [("/usr/bin/hallmark", "hallmark"), ("/x/scripts/__main__.py", "python -m scripts")]
)
def test_the_command_is_called_as_it_was_called(program: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    assert make_parser().prog == name


@pytest.mark.parametrize("name", sorted(set(verbs.__all__) - {"Verb"}))
def test_each_verb_is_found_in_its_module_when_it_is_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def find(module: str) -> Any:
        asked.append(importlib.import_module(module))
        return SimpleNamespace(**{name: lambda *_: 7})

    monkeypatch.setattr(verbs, "import_module", find)
    assert getattr(verbs, name)(Path(), argparse.Namespace()) == 7
    assert callable(getattr(asked[0], name)) and asked[0].__name__.startswith("scripts.verbs.")
