"""Upstream's own tests, run inside the candidate by pytest: on the libraries that are shipped, slimmed or compiled.

Standard library only, as `probe`; pytest lies beside it, from locked wheels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from probe import SMOKE_DIR, require

SUITE, SITE = SMOKE_DIR / "upstream", SMOKE_DIR / "site"
MOST = 20  # failures and reasons for skipping that the evidence lists
LONGEST = 300
BAD = ("failure", "error")


def check_upstream(measured: dict[str, Any]) -> None:
    """Of each file that the scenario names (HALLMARK_UPSTREAM) as many tests pass as it says, and none fails.

    The numbers of each file, and how often tests were skipped in which words, go into `measured`.
    """
    asked = json.loads(os.environ["HALLMARK_UPSTREAM"])
    [package] = [path.name for path in SUITE.iterdir() if path.is_dir()]
    report = Path(tempfile.gettempdir()) / "upstream.xml"
    arguments = command(asked, package, report)
    ended = subprocess.run(arguments, cwd=SUITE, env=environment(), stdout=sys.stderr, check=False)
    require(report.is_file(), f"pytest ended with exit code {ended.returncode} and without a report: see the log")
    counts, skips, failures = read_report(report, package)
    measured |= {"files": counts, "exit_code": ended.returncode}
    measured |= {"skipped": dict(skips.most_common(MOST)), "failures": failures[:MOST]}
    require(not failures, f"{len(failures)} of upstream's tests failed, the first: {failures[0] if failures else ''}")
    for each in asked:
        passed = counts.get(each["file"], {}).get("passed", 0)
        require(passed >= each["passes"], f"of {each['file']} {passed} tests passed, and {each['passes']} did before")
    require(ended.returncode == 0, f"pytest ended with exit code {ended.returncode}")


def command(asked: Sequence[Mapping[str, Any]], package: str, report: Path) -> list[str]:
    """pytest over the files that are asked for, without the tests that are left out."""
    left_out = sorted({part for each in asked for part in each["without"]})
    select = ["-k", f"not ({' or '.join(left_out)})"] if left_out else []
    quiet = ["-q", "--tb=short", "--no-header", "-p", "no:cacheprovider", "-o", "junit_family=xunit1"]
    files = [f"{package}/{each['file']}" for each in asked]
    config = ["-c", os.devnull, f"--rootdir={SUITE}", f"--junit-xml={report}"]
    return [sys.executable, "-B", "-m", "pytest", *quiet, *config, *select, *files]


def environment() -> dict[str, str]:
    """Where pytest and the package of tests are found, before what the image has."""
    known = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    path = os.pathsep.join([str(SUITE), str(SITE), *known])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def read_report(report: Path, package: str) -> tuple[dict[str, dict[str, int]], Counter[str], list[str]]:
    """How many tests of each file passed, failed and were skipped; in which words they were skipped; what failed."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"passed": 0, "failed": 0, "skipped": 0})
    skips: Counter[str] = Counter()
    failures: list[str] = []
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  written by pytest, in this container
        file = (case.get("file") or case.get("name") or "").removeprefix(f"{package}/")
        bad = next((child for kind in BAD if (child := case.find(kind)) is not None), None)
        skipped = case.find("skipped")
        if bad is not None:
            counts[file]["failed"] += 1
            failures.append(f"{file}::{case.get('name')}: {bad.get('message')}"[:LONGEST])
        elif skipped is not None:
            counts[file]["skipped"] += 1
            skips[str(skipped.get("message"))[:LONGEST]] += 1
        else:
            counts[file]["passed"] += 1
    return dict(counts), skips, failures
