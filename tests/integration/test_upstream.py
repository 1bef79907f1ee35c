"""The check of upstream's tests with the real pytest: what it reports is what the check reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.matrix import UpstreamTest
from scripts.smoke import suite
from tests.unit.builders import SCENARIO

INSIDE = Path(suite.__file__).parent / "inside"
CHECK = "import upstream, probe; probe.run_checks({'upstream': upstream.check_upstream})"
TESTS = """
import pytest
from tests.helper import ONE

@pytest.mark.parametrize("number", range(3))
def test_numbers(number): assert number < 3

def test_helper(): assert ONE == 1

@pytest.mark.skip(reason="no such GPU")
def test_skipped(): assert False

def test_large(): assert False
"""
CONFTEST = """
import pytest

@pytest.fixture(autouse=True)
def tidy(request):
    yield
    assert request.node.get_closest_marker("untidy"), "it is asked to tidy up"
"""
SLOW = TESTS + "\n@pytest.fixture(autouse=True)\ndef slow(): __import__('time').sleep(0.7)\n"


def check(folder: Path, tests: str, passes: int, marks: Sequence[str] = ("untidy",), limit: int = 60) -> dict[str, Any]:
    """The result of the check, run as in a container, over one file of tests."""
    files = {"__init__.py": "", "conftest.py": CONFTEST, "helper.py": "ONE = 1", "kernels/test_a.py": tests}
    for name, text in files.items():
        path = folder / "upstream/tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / suite.SITE).mkdir()
    shutil.copyfile(suite.PLUGIN, folder / suite.SITE / suite.PLUGIN.name)
    asked = (UpstreamTest("kernels/test_a.py", passes, ("large",), "it fails", tuple(marks)),)
    environment = {
        **os.environ,
        "HALLMARK_SMOKE_DIR": str(folder),
        "HALLMARK_CHECKS": "upstream",
        **suite.tell_tests(replace(SCENARIO, timeout_s=limit, tests=asked)),
        "PYTHONPATH": str(INSIDE),
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-B", "-c", CHECK]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return dict(json.loads(run.stdout))


def test_as_many_as_before_pass(tmp_path: Path) -> None:
    result = check(tmp_path, TESTS, 4)
    assert result["outcome"] == "passed", result
    measured = result["measured"]
    assert measured["files"] == {"kernels/test_a.py": {"passed": 4, "failed": 0, "skipped": 1}}
    assert measured["skipped"] == {"no such GPU": 1}


def test_what_the_suite_leaves_out_for_a_mark_is_done_without_it(tmp_path: Path) -> None:
    result = check(tmp_path, TESTS, 4, marks=())
    assert result["outcome"] == "failed" and "it is asked to tidy up" in result["detail"], result


def test_when_the_time_is_over_what_ran_is_told(tmp_path: Path) -> None:
    result = check(tmp_path, SLOW, 4, limit=2)
    assert result["outcome"] == "failed" and "tests passed, and 4 did before" in result["detail"], result
    assert result["measured"]["files"]["kernels/test_a.py"]["passed"] in (1, 2), result


@pytest.mark.parametrize(
    ("tests", "passes", "said"),
    [
        (TESTS, 5, "of kernels/test_a.py 4 tests passed, and 5 did before"),
        (
            TESTS.replace("ONE == 1", "ONE == 2"),
            3,
            "1 of upstream's tests failed, the first: kernels/test_a.py::test_helper",
        ),
        (TESTS.replace("import ONE", "import TWO"), 1, "1 of upstream's tests failed"),
        ("", 1, "of kernels/test_a.py 0 tests passed"),
        ("import os; os.abort()", 1, "without a report"),
    ],
)
def test_anything_less_fails(tests: str, passes: int, said: str, tmp_path: Path) -> None:
    result = check(tmp_path, tests, passes)
    assert result["outcome"] == "failed" and said in str(result["detail"]), result
