"""The list of mutants fits the code, and whoever tries them calls one that survives by its name."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mutants import Mutant, Row, Run, find_faults, load_mutants, main, try_mutants
from tests.unit.builders import REPOSITORY_ROOT, write

GATE = "def passes(value):\n    return value < 3\n"
TEST = "from pathlib import Path\nexec(Path(__file__).with_name('gate.py').read_text())\nassert not passes(4)\n"
KILLED = Mutant("any value passes", "gate.py", "value < 3", "value < 9", ("test_gate.py",))
SURVIVING = Mutant("a slightly larger value passes", "gate.py", "value < 3", "value < 4", ("test_gate.py",))
BROKEN = Mutant("a name that nobody knows", "gate.py", "value < 3", "nobody", ("test_gate.py",))


def run_scripts(root: Path, tests: Sequence[str]) -> Run:
    """As pytest would run them, without a process: a file that an assertion ends has failed."""
    for test in tests:
        try:
            runpy.run_path(str(root / test))
        except AssertionError:
            return Run(1, f"FAILED {test}::the_test - AssertionError\n")
        except NameError:
            return Run(2, f"ERROR {test}\n")
    return Run(0, "")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A project with one gate and one test of it."""
    write(tmp_path / "sample/gate.py", GATE)
    write(tmp_path / "sample/test_gate.py", TEST)
    write(tmp_path / "sample/.git/large", "")
    return tmp_path / "sample"


def write_list(root: Path, *mutants: Mutant) -> None:
    keys = ("name", "file", "old", "new")
    entries = [
        "[[mutant]]\n"
        + "".join(f'{key} = "{getattr(mutant, key)}"\n' for key in keys)
        + f"tests = {list(mutant.tests)}\n"
        for mutant in mutants
    ]
    write(root / "tests/mutants.toml", "".join(entries))


# --- the project's own list


def test_every_mutant_fits_its_file_and_names_tests_that_there_are() -> None:
    assert find_faults(REPOSITORY_ROOT, load_mutants()) == []


def test_every_gate_has_mutants() -> None:
    gates = {mutant.name.split(":")[0] for mutant in load_mutants()}
    assert gates >= {
        *("verdict", "tolerance", "trial", "gpu", "audit", "promotion", "stamp", "sandbox", "embedded engine"),
        *("oci", "registry", "wheel", "lock", "verbs", "project", "judge", "obtain"),
        *("receive", "run", "stages", "build id", "assemble", "reproduce"),
    }


# --- entries that cannot be tried


@pytest.mark.parametrize(
    ("mutant", "fault"),
    [
        (Mutant("x", "gate.py", "value > 3", "", ("test_gate.py",)), "x: its text stands 0 times in gate.py"),
        (Mutant("x", "gate.py", "value", "", ("test_gate.py",)), "x: its text stands 2 times in gate.py"),
        (Mutant("x", "gate.py", "", "a", ("test_gate.py",)), "x: its text stands 0 times in gate.py"),
        (Mutant("x", "gone.py", "value", "", ("test_gate.py",)), "x: its text stands 0 times in gone.py"),
        (Mutant("x", "gate.py", "value < 3", "value < 3", ("test_gate.py",)), "x: changes nothing"),
        (Mutant("x", "gate.py", "value < 3", "value <", ("test_gate.py",)), "x: what it makes of gate.py is no Python"),
        (Mutant("x", "gate.py", "value < 3", "True", ()), "x: names no test"),
        (Mutant("x", "gate.py", "value < 3", "True", ("test_gone.py",)), "x: there is no test_gone.py"),
    ],
)
def test_an_entry_that_has_rotted_is_found(mutant: Mutant, fault: str, sample: Path) -> None:
    assert find_faults(sample, [mutant]) == [fault]
    write_list(sample, mutant)
    assert main([], sample, run_scripts) == 1


def test_two_of_one_name_and_none_at_all_are_faults(sample: Path) -> None:
    assert find_faults(sample, [KILLED, KILLED]) == [f"{KILLED.name}: stands there twice"]
    assert find_faults(sample, []) == ["there is no mutant"]


# --- trying them


def told(sample: Path, *mutants: Mutant) -> list[tuple[str, bool, str]]:
    shown: list[Row] = []
    rows = try_mutants(sample, mutants, run_scripts, shown.append, workers=2)
    assert sorted(shown, key=str) == sorted(rows, key=str)
    return [(row.mutant, row.killed, row.told) for row in rows]


def test_a_mutant_that_a_test_notices_is_killed_and_one_that_none_notices_survives(sample: Path) -> None:
    assert told(sample, SURVIVING, KILLED, BROKEN, SURVIVING) == [
        (SURVIVING.name, False, "SURVIVED"),
        (KILLED.name, True, "test_gate.py::the_test"),
        (BROKEN.name, False, "NOT TRIED: pytest ended with 2"),
        (SURVIVING.name, False, "SURVIVED"),
    ]
    assert (sample / "gate.py").read_text() == GATE, "mutants are made in copies"


def test_the_copies_leave_out_what_no_test_needs(sample: Path) -> None:
    def run_tests(root: Path, tests: Sequence[str]) -> Run:
        assert root != sample and sorted(path.name for path in root.iterdir()) == ["gate.py", "test_gate.py"]
        return Run(0, "")

    assert len(try_mutants(sample, [KILLED], run_tests, lambda row: None)) == 1


@pytest.mark.parametrize(
    ("mutants", "code", "last"),
    [
        ([KILLED], 0, "1 of 1 mutants killed\n"),
        ([KILLED, SURVIVING], 1, f"1 of 2 mutants killed\nnot killed: {SURVIVING.name}\n"),
        ([BROKEN], 1, f"0 of 1 mutants killed\nnot killed: {BROKEN.name}\n"),
    ],
)
def test_the_exit_code_says_whether_all_were_killed(
    mutants: list[Mutant], code: int, last: str, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_list(sample, *mutants)
    assert main([], sample, run_scripts) == code
    printed = capsys.readouterr().out
    assert printed.endswith(last) and all(mutant.name in printed for mutant in mutants)


def test_words_choose_among_them(sample: Path) -> None:
    write_list(sample, KILLED, SURVIVING)
    assert main(["any value"], sample, run_scripts) == 0
    assert main(["larger"], sample, run_scripts) == 1
    assert main(["nothing of this name"], sample, run_scripts) == 1


def test_tests_that_fail_anyway_show_nothing(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_list(sample, KILLED)
    write(sample / "test_gate.py", "assert False\n")
    assert main([], sample, run_scripts) == 2
    assert "fail without any mutant" in capsys.readouterr().err
