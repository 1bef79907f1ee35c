from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.index import solve
from scripts.index.solve import FoundFile
from scripts.index.wheels import platform_tags, resolve_wheels
from scripts.matrix import Platform
from scripts.site import PipSettings
from tests.unit.builders import sha256

PLATFORM = Platform(python="3.11", glibc="2.36", suites=())
URL = "https://index.invalid/files"


class Solver:
    """Stands in for uv: writes a solution where uv would, or fails like it; keeps what it was given."""

    def __init__(self, packages: str = "", stderr: str = "") -> None:
        self.packages, self.stderr = packages, stderr
        self.command: list[str] = []
        self.inputs: dict[str, str] = {}
        self.environment: dict[str, str] = {}

    def __call__(
        self, command: list[str], cwd: Path, env: dict[str, str], **_: Any
    ) -> subprocess.CompletedProcess[str]:
        self.command, self.environment = command, env
        self.inputs = {path.name: path.read_text() for path in cwd.iterdir()}
        (cwd / "pylock.toml").write_text(f'lock-version = "1.0"\n{self.packages}')
        return subprocess.CompletedProcess(command, 1 if self.stderr else 0, "", self.stderr)

    def resolve(
        self, requirements: Sequence[str] = ("thing",), absent: Sequence[str] = (), **options: Any
    ) -> list[FoundFile]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "run", self)
            patch.setattr(solve, "find_uv_bin", lambda: "uv")
            return resolve_wheels(requirements, absent, PLATFORM, options.pop("pip", PipSettings()), **options)


def package(*files: str, name: str = "thing", version: str = "1.0") -> str:
    lines = [f'[[packages]]\nname = "{name}"\nversion = "{version}"']
    lines += [
        f'[[packages.wheels]]\nurl = "{URL}/{file}"\nhashes = {{ sha256 = "{sha256(file.encode())}" }}'
        for file in files
    ]
    return "\n".join(lines) + "\n"


# --- which file of a distribution


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["thing-1.0-py3-none-any.whl"], 0),
        (["thing-1.0-py3-none-any.whl", "thing-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"], 1),
        (["thing-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "thing-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"], 1),
        (["thing-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "thing-1.0-cp311-cp311-manylinux_2_39_x86_64.whl"], 0),
        (["thing-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", "thing-1.0-cp38-abi3-manylinux_2_17_x86_64.whl"], 1),
        (["thing-1.0-cp311-cp311-manylinux_2_17_aarch64.whl", "thing-1.0-py3-none-any.whl"], 1),
        (["thing-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", "thing-1.0-cp311-cp311-manylinux2014_x86_64.whl"], 1),
        (["thing-1.0-cp311-cp311-win_amd64.whl", "thing-1.0-py2.py3-none-linux_x86_64.whl"], 1),
        (["thing-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl"], 0),
        (["thing-1.0-1-py3-none-any.whl"], 0),
    ],
)  # fmt: skip
def test_the_best_wheel_for_the_platform_is_chosen(files: list[str], chosen: int) -> None:
    for order in (files, files[::-1]):
        [found] = Solver(package(*order)).resolve()
        assert found.file == files[chosen]
        assert found.sha256 == sha256(found.file.encode())
        assert found.url == f"{URL}/{found.file}"


@pytest.mark.parametrize(
    "files", [[], ["thing-1.0-cp311-cp311-win_amd64.whl"], ["thing-1.0-cp310-cp310-manylinux_2_17_x86_64.whl"]]
)
def test_a_distribution_without_a_wheel_to_install_is_refused_by_name(files: list[str]) -> None:
    sdist = f'[packages.sdist]\nurl = "{URL}/thing-1.0.tar.gz"\nhashes = {{ sha256 = "{"0" * 64}" }}\n'
    with pytest.raises(ConfigError, match=r"thing 1\.0: has no wheel for this platform\n  next: pin another version"):
        Solver(package(*files) + sdist).resolve()


def test_names_and_times_are_taken_from_the_solution() -> None:
    text = package("thing-1.0%2Bcpu-py3-none-any.whl").replace(
        "hashes", "upload-time = 2025-11-01T00:00:00Z\nhashes", 1
    )
    [found] = Solver(text + package("other-2-py3-none-any.whl", name="other", version="2")).resolve()[:1]
    assert (found.file, found.uploaded) == ("thing-1.0+cpu-py3-none-any.whl", 1761955200)


def test_the_platforms_tags_end_at_its_glibc_and_its_python() -> None:
    tags = [str(tag) for tag in platform_tags(PLATFORM)]
    assert tags[0] == "cp311-cp311-manylinux_2_36_x86_64"
    assert "py3-none-any" in tags and "cp39-abi3-manylinux2014_x86_64" in tags
    assert not any("2_37" in tag or "cp312" in tag for tag in tags)


# --- what the solver is asked


def test_the_solver_is_given_the_requirements_the_platform_and_what_must_be_absent() -> None:
    solver = Solver(package("thing-1.0-py3-none-any.whl"))
    solver.resolve(["thing==1.0", "other"], ["triton"], folders=[Path("/wheels")])
    assert solver.inputs["requirements.in"] == "thing==1.0\nother\n"
    assert solver.inputs["overrides.txt"] == 'triton ; python_version < "0"\n'
    line = " ".join(solver.command)
    assert "--python-version 3.11 " in line and "--python-platform x86_64-manylinux_2_36 " in line
    assert "--only-binary :all:" in line and "--find-links /wheels" in line
    assert "--no-deps" not in line


def test_pips_settings_stand_in_where_uv_has_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX", "https://mine.invalid")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    solver = Solver(package("thing-1.0-py3-none-any.whl"))
    pip = PipSettings("https://site.invalid", ("https://extra.invalid",), (Path("/folder"),))
    solver.resolve(pip=pip, with_dependencies=False)
    assert solver.environment["UV_DEFAULT_INDEX"] == "https://site.invalid"
    assert solver.environment["UV_INDEX"] == "https://mine.invalid"
    assert solver.command[-3:-1] == ["--find-links", "/folder"]
    assert "--no-deps" in solver.command


def test_what_the_solver_says_is_what_the_user_reads() -> None:
    with pytest.raises(ConfigError, match="uv pip compile: no solution: thing needs other") as caught:
        Solver(stderr="no solution: thing needs other\n").resolve()
    assert caught.value.problems[0].next_step


def test_an_override_counts_beside_what_is_absent() -> None:
    solver = Solver(package("thing-1.0-py3-none-any.whl"))
    solver.resolve(["thing"], ["triton"], override=["cuda-python>=12,<13"])
    assert solver.inputs["overrides.txt"] == 'cuda-python>=12,<13\ntriton ; python_version < "0"\n'
