"""Upstream's tests in the candidate: what failed fails, what is missing fails, and what was skipped does not count."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import upstream
from probe import Failed
from upstream import check_upstream, command, environment, read_report

ASKED = [
    {"file": "kernels/test_a.py", "passes": 2, "without": [], "reason": ""},
    {"file": "test_b.py", "passes": 1, "without": ["large"], "reason": "needs 80 GB"},
]
A, B = "tests/kernels/test_a.py", "tests/test_b.py"
SKIPPED = '<skipped type="pytest.skip" message="no such GPU" />'
FAILURE = '<failure message="assert 1 == 2">text</failure>'
ERROR = '<error message="failed on setup">text</error>'
GOOD = [(A, "one", ""), (A, "two", ""), (A, "three", SKIPPED), (B, "four", "")]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the check where pytest ends as a test says; what it measured."""
    (tmp_path / "suite/tests").mkdir(parents=True)
    monkeypatch.setattr(upstream, "SUITE", tmp_path / "suite")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("HALLMARK_UPSTREAM", json.dumps(ASKED))

    def run(cases: list[tuple[str, str, str]] | None = None, code: int = 0) -> dict[str, Any]:
        def pytest_ends(arguments: list[str], **options: Any) -> Any:
            assert options["cwd"] == tmp_path / "suite" and options["stdout"] is sys.stderr, "results are on stdout"
            if cases is not None:
                (tmp_path / "upstream.xml").write_text(make_report(cases))
            return SimpleNamespace(returncode=code)

        monkeypatch.setattr(subprocess, "run", pytest_ends)
        measured: dict[str, Any] = {}
        run.measured = measured  # type: ignore[attr-defined]
        check_upstream(measured)
        return measured

    return run


def make_report(cases: list[tuple[str, str, str]]) -> str:
    lines = [f'<testcase file="{file}" name="{name}">{inner}</testcase>' for file, name, inner in cases]
    return f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>"


def test_what_passed_and_what_was_skipped_is_measured_by_file(ran: Any) -> None:
    measured = ran(GOOD)
    assert measured["files"] == {
        "kernels/test_a.py": {"passed": 2, "failed": 0, "skipped": 1},
        "test_b.py": {"passed": 1, "failed": 0, "skipped": 0},
    }
    assert measured["skipped"] == {"no such GPU": 1}


@pytest.mark.parametrize("bad", [FAILURE, ERROR])
def test_one_that_fails_fails_the_check_by_its_name(bad: str, ran: Any) -> None:
    with pytest.raises(Failed, match=r"1 of upstream's tests failed, the first: test_b.py::five: "):
        ran([*GOOD, (B, "five", bad)], code=1)
    assert ran.measured["files"]["test_b.py"] == {"passed": 1, "failed": 1, "skipped": 0}


@pytest.mark.parametrize("cases", [GOOD[1:], [(A, "one", SKIPPED), *GOOD[1:]], GOOD[3:]])
def test_fewer_than_passed_before_fail_the_check(cases: list[tuple[str, str, str]], ran: Any) -> None:
    with pytest.raises(Failed, match=r"of kernels/test_a.py [01] tests passed, and 2 did before"):
        ran(cases)


def test_none_at_all_fail_the_check(ran: Any) -> None:
    with pytest.raises(Failed, match="0 tests passed"):
        ran([], code=5)


@pytest.mark.parametrize("code", [-11, 1, 2, 3, 4])
def test_an_end_without_a_report_fails_the_check(code: int, ran: Any) -> None:
    with pytest.raises(Failed, match=f"pytest ended with exit code {code} and without a report"):
        ran(None, code)


def test_a_bad_end_after_a_good_report_fails_the_check(ran: Any) -> None:
    with pytest.raises(Failed, match="pytest ended with exit code 3"):
        ran(GOOD, 3)


def test_a_file_that_could_not_be_imported_is_an_error_under_its_own_name(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(f'<testsuite><testcase name="tests.kernels.test_a">{ERROR}</testcase></testsuite>')
    _, _, failures = read_report(report, "tests")
    assert failures == ["tests.kernels.test_a::tests.kernels.test_a: failed on setup"]


def test_pytest_is_asked_for_the_files_without_what_is_left_out() -> None:
    words = command(ASKED, "tests", Path("/report.xml"))
    assert words[:4] == [sys.executable, "-B", "-m", "pytest"] and words[-2:] == [A, B]
    assert words[words.index("-k") + 1] == "not (large)" and "--junit-xml=/report.xml" in words
    assert "-k" not in command(ASKED[:1], "tests", Path("/report.xml"))


def test_the_tests_are_found_before_what_the_image_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/image")
    assert environment()["PYTHONPATH"].split(":") == [str(upstream.SUITE), str(upstream.SITE), "/image"]
