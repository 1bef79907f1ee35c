"""What people read of an audit: every library, the worst first, and what to do."""

from __future__ import annotations

import pytest

from scripts.audit.judge import judge, judge_unknown
from scripts.audit.library import Library
from scripts.matrix import AuditRule
from scripts.model import Coverage
from scripts.report.libraries import show_audit
from tests.unit.audit.made import library, rule
from tests.unit.builders import RTX

RULES = [
    rule(Coverage.NATIVE, "a.so"),
    rule(Coverage.MISSING, "lib/b.so", "lib/c.so", reason="not called"),
    rule(Coverage.JIT, "d.so", reason="small"),
]


def shown(
    capsys: pytest.CaptureFixture[str], *libraries: Library, rules: list[AuditRule] | None = None, subject: str = "it"
) -> list[str]:
    audit = judge_unknown(libraries, "12.0") if rules is None else judge(libraries, "12.0", rules)
    show_audit(audit, subject, RTX)
    return capsys.readouterr().out.splitlines()


def test_a_passed_audit_is_a_row_a_library_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, library("a.so", "120+90", size=1500), library("b.so", "120", "90", size=10))
    assert [line.split() for line in lines[1:]] == [
        ["b.so", "partly", "missing", "1", "0", "1", "20", "B", "10", "B", "–", "–"],
        ["a.so", "native", "1", "0", "0", "3.0", "kB", "1.5", "kB", "–", "–"],
        ["it", "for", "RTX", "5090", "(12.0):", "passed"],
    ]
    assert lines[0].split()[:4] == ["library", "on", "12.0", "native"]


def test_the_worst_library_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Library("broken.so", (), "cut short")
    grades = [library("native.so", "120"), library("jit.so", "ptx90"), library("none.so", "90"), broken]
    lines = shown(capsys, *grades, library("also.so", "120"))
    assert [line.split()[0] for line in lines[1:6]] == ["broken.so", "none.so", "jit.so", "also.so", "native.so"]


def test_a_failed_audit_tells_each_problem_with_its_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, library("a.so", "90"), library("x.so", "120"), rules=RULES[:1])
    text = "\n".join(lines)
    assert "problem: a.so: no code that compute capability 12.0 could run (it has sm_90)" in lines
    assert text.count("  next: ") == 2 and "problem: x.so: carries GPU code" in text
    assert lines[-1] == "it for RTX 5090 (12.0): failed: 2 problems"


def test_what_is_accepted_though_not_native_is_told_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    libraries = [library("a.so", "120"), library("lib/b.so", "90"), library("lib/c.so", "90"), library("d.so", "120")]
    lines = shown(capsys, *libraries, rules=RULES)
    assert [line for line in lines if line.startswith("accepted")] == ["accepted: b.so, c.so: not called"]
    assert lines[-1].endswith("passed")


def test_what_has_to_be_compiled_names_the_driver_and_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, library("a.so", "ptx90+ptx80"))
    assert "compute_90" in lines[1] and lines[1].endswith("≥ 570.26")
    assert any("it must be 570.26 or newer" in line for line in lines)
    assert any("next: keep CUDA_CACHE_PATH" in line for line in lines)
    assert not any("CUDA_CACHE_PATH" in line for line in shown(capsys, library("a.so", "120+ptx90")))


def test_a_driver_that_nobody_knows_is_not_called_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(shown(capsys, library("a.so", "ptx90", ptx_version="99.0")))
    assert "unknown or newer" not in text and "≥ unknown" not in text
    assert "unknown" in text


@pytest.mark.parametrize("path", ["x[/b].so", "x[bold]y.so", "x:key:y.so", "x\\[.so"])
def test_paths_are_shown_as_they_are(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, library(path, "90"), subject=f"folder/{path}")
    assert lines[1].startswith(f"{path} ")
    assert any(line.startswith(f"problem: {path}: ") for line in lines)
    assert lines[-1].startswith(f"folder/{path} for")


def test_a_long_path_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/".join(["folder"] * 40) + "/a.so"
    assert shown(capsys, library(path, "120"))[1].startswith(f"{path} ")
