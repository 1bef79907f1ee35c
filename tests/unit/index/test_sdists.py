from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.index import FoundFile, find_sdists, solve
from scripts.matrix import Platform
from scripts.site import PipSettings

SOLUTION = f"""\
[[packages]]
name = "lib"
version = "1.0"
[[packages.wheels]]
url = "https://index.invalid/lib-1.0-py3-none-any.whl"
hashes = {{ sha256 = "{"b" * 64}" }}
"""
SDIST = f"""\
[packages.sdist]
url = "https://index.invalid/lib-1.0.tar.gz"
upload-time = 2026-01-02T00:00:00Z
hashes = {{ sha256 = "{"a" * 64}" }}
"""


def find(monkeypatch: pytest.MonkeyPatch, solution: str) -> tuple[list[FoundFile], str]:
    """The sdists of `lib` where uv has this solution, and the command that it was given."""
    commands: list[list[str]] = []

    def run(command: list[str], cwd: Path, **_: Any) -> subprocess.CompletedProcess[str]:
        assert (cwd / "requirements.in").read_text() == "lib==1.0\n"
        assert (cwd / "overrides.txt").read_text() == ""
        commands.append(command)
        (cwd / "pylock.toml").write_text(solution)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(solve, "find_uv_bin", lambda: "uv")
    found = find_sdists(["lib==1.0"], Platform("3.11", "2.36", ()), PipSettings(), [Path("/folder")])
    return found, " ".join(commands[0])


def test_an_sdist_is_found_beside_its_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    found, command = find(monkeypatch, SOLUTION + SDIST)
    url = "https://index.invalid/lib-1.0.tar.gz"
    assert found == [FoundFile("lib", "1.0", "lib-1.0.tar.gz", "a" * 64, url, 1767312000)]
    assert " --no-deps " in command and "--find-links /folder" in command
    assert "--only-binary" not in command, "uv leaves out sdists then"


def test_a_distribution_without_one_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"lib 1\.0: the index has no sdist of it\n  next: name another source"):
        find(monkeypatch, SOLUTION)
