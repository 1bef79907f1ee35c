"""Mutants in earnest: with pytest, in a process of its own, on a project of two files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import main

LIST = """
[[mutant]]
name = "killed"
file = "gate.py"
old = "value < 3"
new = "value < 9"
tests = ["test_gate.py"]
[[mutant]]
name = "surviving"
file = "gate.py"
old = "value < 3"
new = "value < 4"
tests = ["test_gate.py"]
[[mutant]]
name = "no module"
file = "gate.py"
old = "def passes"
new = "raise SystemError\\ndef passes"
tests = ["test_gate.py"]
"""


def test_pytest_kills_what_a_test_notices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/mutants.toml").write_text(LIST)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "gate.py").write_text("def passes(value):\n    return value < 3\n")
    (tmp_path / "test_gate.py").write_text("import gate\n\n\ndef test_four():\n    assert not gate.passes(4)\n")
    assert main([], tmp_path) == 1
    printed = capsys.readouterr().out
    assert "test_gate.py::test_four" in printed and "SURVIVED" in printed and "NOT TRIED" in printed
    assert "1 of 3 mutants killed\nnot killed: surviving\nnot killed: no module" in printed
    assert main(["killed"], tmp_path) == 0
    (tmp_path / "test_gate.py").write_text("def test_never():\n    assert False\n")
    assert main(["killed"], tmp_path) == 2
