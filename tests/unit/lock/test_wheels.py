from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.errors import ConfigError, Undecided
from scripts.lock import wheels
from scripts.lock.wheels import FoundWheel, lock_upstream, lock_wheels, platform_tags, resolve_wheels
from scripts.matrix import Platform, Upstream
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
    ) -> list[FoundWheel]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "run", self)
            patch.setattr(wheels, "find_uv_bin", lambda: "uv")
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
    assert solver.inputs["absent.txt"] == 'triton ; python_version < "0"\n'
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


# --- what goes into the lock

WHEEL = FoundWheel("thing", "1.0", "thing-1.0-py3-none-any.whl", "a" * 64, f"{URL}/thing-1.0-py3-none-any.whl", 0)
UPSTREAM = Upstream(WHEEL.file, WHEEL.sha256, 7, "https://upstream.invalid/thing.whl")


def answer_head(monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str]) -> None:
    def head(url: str, **_: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url = status, url
        response.headers.update(headers)
        return response

    monkeypatch.setattr(requests, "head", head)


def test_a_wheel_of_an_index_is_locked_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_head(monkeypatch, 200, {"Content-Length": "123"})
    [locked] = lock_wheels([WHEEL], [])
    assert (locked.file, locked.sha256, locked.size, locked.url) == (WHEEL.file, WHEEL.sha256, 123, "")


def test_a_wheel_of_upstream_keeps_the_address_that_was_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_head(monkeypatch, 200, {"Content-Length": "123"})
    [locked] = lock_wheels([WHEEL], [UPSTREAM])
    assert locked.url == UPSTREAM.url


def test_a_wheel_in_a_folder_is_measured_there(tmp_path: Path) -> None:
    (tmp_path / "thing+1.whl").write_bytes(b"12345")
    found = FoundWheel("thing", "1", "thing+1.whl", "a" * 64, f"file://{tmp_path}/thing%2B1.whl", 0)
    assert lock_wheels([found], [])[0].size == 5


def test_upstream_bytes_that_are_not_those_expected_are_refused_with_both_hashes() -> None:
    other = Upstream(WHEEL.file, "b" * 64, 7, UPSTREAM.url)
    with pytest.raises(ConfigError) as caught:
        lock_wheels([WHEEL], [other])
    assert f"expected SHA-256 {'b' * 64}, found {'a' * 64}" in str(caught.value)
    assert WHEEL.file in str(caught.value)


@pytest.mark.parametrize(("status", "headers"), [(404, {}), (503, {}), (200, {}), (200, {"Content-Length": "many"})])
def test_a_size_that_nobody_tells_leaves_it_open(
    status: int, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_head(monkeypatch, status, headers)
    with pytest.raises(Undecided, match=r"thing-1\.0-py3-none-any\.whl: its size could not be asked for"):
        lock_wheels([WHEEL], [])


def test_an_upstream_wheel_is_fetched_under_its_normal_name_and_version() -> None:
    locked = lock_upstream(Upstream("Some_Thing-1.0.0+cpu-py3-none-any.whl", "a" * 64, 7, UPSTREAM.url))
    assert (locked.kind, locked.name, locked.version) == ("wheel", "some-thing", "1.0.0+cpu")
    assert (locked.file, locked.url) == ("Some_Thing-1.0.0+cpu-py3-none-any.whl", UPSTREAM.url)
