"""Upstream's tests as a container sees them: those of the locked sdist, with what they need, and nothing else of it."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.errors import ConfigError
from scripts.matrix import UpstreamTest
from scripts.smoke import smoke
from scripts.smoke.smoke import identify, lay_out, make_environment
from scripts.smoke.suite import SuiteFiles, find_suite_lock, lay_out_suite
from tests.unit.builders import CPU, RTX, SCENARIO, make_cell, make_image, write

TESTS = (UpstreamTest("kernels/test_a.py", 2, ("large",), "needs 80 GB", ("quick",)),)
TESTED = replace(SCENARIO, checks=("upstream",), tests=TESTS)
DIGEST = "sha256:" + "d" * 64


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFiles:
    return make_suite(
        tmp_path, {"tests/kernels/test_a.py": "", "tests/conftest.py": "", "setup.py": "", "csrc/tests/x": ""}
    )


def make_suite(folder: Path, files: dict[str, str]) -> SuiteFiles:
    sdist, wheel = folder / "serve-1.2.0.tar.gz", folder / "pytest.whl"
    with tarfile.open(sdist, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"serve-1.2.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("serve-1.2.0/tests/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with zipfile.ZipFile(wheel, "w") as archive_of_wheel:
        archive_of_wheel.writestr("pytest/__init__.py", "")
    return SuiteFiles(sdist, "tests", (wheel,))


def test_the_package_of_tests_is_laid_out_and_nothing_else_of_the_sdist(suite: SuiteFiles, tmp_path: Path) -> None:
    lay_out_suite(suite, TESTS, tmp_path / "seen")
    found = {
        path.relative_to(tmp_path / "seen").as_posix() for path in (tmp_path / "seen").rglob("*") if path.is_file()
    }
    ours = {"site/marking.py", "site/pytest/__init__.py"}
    assert found == {"upstream/tests/kernels/test_a.py", "upstream/tests/conftest.py"} | ours


def test_a_test_that_this_version_does_not_have_is_refused(suite: SuiteFiles, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no kernels/test_b.py"):
        lay_out_suite(suite, (*TESTS, UpstreamTest("kernels/test_b.py", 1)), tmp_path / "seen")


def test_what_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    suite = make_suite(tmp_path, {"tests/../../../out.py": "", "tests/kernels/test_a.py": ""})
    with pytest.raises(tarfile.OutsideDestinationError):
        lay_out_suite(suite, TESTS, tmp_path / "seen")


def test_any_user_can_read_them(suite: SuiteFiles, tmp_path: Path) -> None:
    write(tmp_path / "image/smoke.py", "import probe\n")
    lay_out(make_image(tmp_path / "image"), TESTED, tmp_path / "seen", suite)
    for path in (tmp_path / "seen").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
    assert (tmp_path / "seen/upstream/tests/kernels/test_a.py").is_file()


def test_a_scenario_without_tests_sees_no_suite(suite: SuiteFiles, tmp_path: Path) -> None:
    write(tmp_path / "image/smoke.py", "import probe\n")
    lay_out(make_image(tmp_path / "image"), SCENARIO, tmp_path / "seen", suite)
    assert not (tmp_path / "seen/upstream").exists()


def test_the_container_is_told_which_tests_how_many_pass_and_when_to_end() -> None:
    environment = make_environment(make_cell(), replace(TESTED, timeout_s=100))
    [asked] = json.loads(environment["HALLMARK_UPSTREAM"])
    assert asked == {"reason": "needs 80 GB"} | {
        "file": "kernels/test_a.py",
        "passes": 2,
        "without": ["large"],
        "marks": ["quick"],
    }
    assert environment["PYTEST_ADDOPTS"] == "-p marking --session-timeout=90", "what is left is for the report"
    assert not {"HALLMARK_UPSTREAM", "PYTEST_ADDOPTS"} & make_environment(make_cell(), SCENARIO).keys()


def test_the_lock_is_the_recipes_for_its_line(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    assert find_suite_lock(image, make_cell(CPU)) == tmp_path / "lock/suite-wheel-cpu.toml"
    assert find_suite_lock(image, make_cell(RTX, "source")) == tmp_path / "lock/suite-source-cu128.toml"


def test_another_suite_asks_another_question(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    write(tmp_path / "smoke.py", "import probe\n")
    write(tmp_path / "lock/suite-wheel-cpu.toml", "one")
    before = identify(make_cell(), image, TESTED, DIGEST)
    write(tmp_path / "lock/suite-wheel-cpu.toml", "other")
    assert identify(make_cell(), image, TESTED, DIGEST) != before
    fewer = replace(TESTED, tests=(replace(TESTS[0], passes=1),))
    assert identify(make_cell(), image, fewer, DIGEST) != identify(make_cell(), image, TESTED, DIGEST)


def test_another_plugin_asks_another_question_where_there_are_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image(tmp_path)
    write(tmp_path / "smoke.py", "import probe\n")
    write(tmp_path / "lock/suite-wheel-cpu.toml", "one")
    before = [identify(make_cell(), image, each, DIGEST) for each in (SCENARIO, TESTED)]
    write(tmp_path / "marking.py", "other")
    monkeypatch.setattr(smoke, "PLUGIN", tmp_path / "marking.py")
    after = [identify(make_cell(), image, each, DIGEST) for each in (SCENARIO, TESTED)]
    assert after[0] == before[0] and after[1] != before[1]
