from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.assemble.byte_compile import compile_folder, main
from tests.unit.builders import write

PREFIX = "/opt/venv/lib/python3.11/site-packages"


def compiled(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as found:
        return {name: found.read(name) for name in found.namelist()}


def test_each_module_has_byte_code_that_is_never_compared_with_its_source(tmp_path: Path) -> None:
    write(tmp_path / "d/a/__init__.py", "x = 1\n")
    write(tmp_path / "d/b.py", "def f():\n    return 2\n")
    compile_folder(str(tmp_path / "d"), str(tmp_path / "r.zip"), PREFIX)
    found = compiled(tmp_path / "r.zip")
    tag = importlib.util.cache_from_source("b.py").rpartition("/")[2]
    assert list(found) == [f"a/__pycache__/{tag.replace('b.', '__init__.')}", f"__pycache__/{tag}"]
    data = found[f"__pycache__/{tag}"]
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(data[4:8], "little") == 0b01, "by hash, unchecked"
    assert data[8:16] == importlib.util.source_hash((tmp_path / "d/b.py").read_bytes())
    assert marshal.loads(data[16:]).co_filename == f"{PREFIX}/b.py"


@pytest.mark.parametrize("text", ["{{ a template }} of x\n", "x = '\0'\n", "# coding: unknown\n"])
def test_what_is_not_python_has_none_and_hinders_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path / "d/a.py", text)
    write(tmp_path / "d/b.py", "x = 1\n")
    compile_folder(str(tmp_path / "d"), str(tmp_path / "r.zip"), PREFIX)
    assert [name.partition(".")[0] for name in compiled(tmp_path / "r.zip")] == ["__pycache__/b"]


def test_each_distribution_has_a_process_of_its_own_the_largest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("small", 1), ("large", 90), ("middle", 30), ("bad", 60)):
        write(tmp_path / f"s/{name}/a.py", "#" * size)
    running: list[int] = []
    most: list[int] = []

    def fork() -> int:
        running.append(len(most) + 100)
        most.append(len(running))
        return running[-1]

    def wait() -> tuple[int, int]:
        child = running.pop(0)
        return child, int(child == 101) << 8

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(os, "wait", wait)
    assert main(str(tmp_path / "s"), str(tmp_path), PREFIX, 2) == 1, "one of them failed"
    assert capsys.readouterr().out.splitlines() == ["done large", "failed bad", "done middle", "done small"]
    assert most == [1, 2, 2, 2], "two at a time"


def test_a_child_compiles_its_own_folder_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "s/one/a.py", "x = 1\n")

    def leave(code: int) -> None:
        raise SystemExit(code)

    limits: list[int] = []
    monkeypatch.setattr(sys, "setrecursionlimit", limits.append)
    monkeypatch.setattr(os, "fork", lambda: 0)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit, match="0"):
        main(str(tmp_path / "s"), str(tmp_path), PREFIX, 1)
    assert len(compiled(tmp_path / "one.zip")) == 1
    assert limits == [20_000], "generated modules nest deeply"
    with pytest.raises(SystemExit, match="1"):
        main(str(tmp_path / "s"), str(tmp_path / "no such folder"), PREFIX, 1)
