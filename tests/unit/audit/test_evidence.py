"""An audit as JSON: by its schema, as evidence that counts only while the question is the same, and as one result."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from scripts.audit.evidence import identify_audit, identify_wheels, read_audit, render_audit, summarise, write_audit
from scripts.audit.judge import Audit, judge, judge_unknown
from scripts.audit.library import Library
from scripts.matrix import Scope
from scripts.model import Coverage, Outcome, Verdict
from scripts.verdict import decide
from tests.unit.audit.made import library, rule
from tests.unit.builders import CPU, DATA, RTX, lock_bytes, write

DIGEST = "sha256:" + "d" * 64
SCHEMA = json.loads((DATA / "audit.schema.json").read_text())
RULES = [rule(Coverage.JIT, "*.so", reason="small")]
GOOD = judge([library("a.so", "120"), library("b.so", "90+ptx90")], "12.0", RULES)
AUDITS = {
    "passed": GOOD,
    "native": judge_unknown([library("a.so", "120")], "12.0"),
    "nothing": judge_unknown([], "12.0"),
    "missing": judge([library("a.so", "90", "120f"), library("b.so", "other90", "~90a")], "12.0", RULES),
    "unreadable": judge_unknown([Library("a.so", (), "cut short")], "12.0"),
    "unknown driver": judge_unknown([library("a.so", "ptx90", ptx_version="99.0")], "12.0"),
}


def render(audit: Audit, digest: str = DIGEST) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(json.dumps(render_audit(audit, "an image", RTX, digest)))
    return report


def faults(report: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(report)]


# --- the schema


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("digest", [DIGEST, ""])
@pytest.mark.parametrize("name", AUDITS)
def test_every_audit_is_as_the_schema_says(name: str, digest: str) -> None:
    assert faults(render(AUDITS[name], digest)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": "1"},
        {"more": 1},
        {"subject": ""},
        {"digest": "latest"},
        {"driver": ""},
        {"passed": "true"},
        {"libraries": []},
        {"passed": False},
        {"problems": [{"cause": "c", "place": "", "next_step": ""}]},
        {"target": {"id": "5090", "name": "RTX 5090", "compute": "sm_120"}},
    ],
)
def test_the_schema_refuses_anything_else(change: dict[str, Any]) -> None:
    assert faults(render(GOOD) | change)


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_the_schema_misses_what_is_not_there(key: str) -> None:
    report = render(GOOD)
    del report[key]
    assert faults(report)


@pytest.mark.parametrize("change", [{"more": 1}, {"coverage": "good"}, {"native": -1}, {"architectures": ["12.0"]}])
def test_the_schema_goes_into_the_libraries(change: dict[str, Any]) -> None:
    report = render(GOOD)
    report["libraries"][0] |= change
    assert faults(report)


def test_a_report_names_its_subject_target_and_driver() -> None:
    report = render(GOOD)
    assert (report["version"], report["subject"], report["digest"]) == (1, "an image", DIGEST)
    assert report["target"] == {"id": "5090", "name": "RTX 5090", "compute": "12.0"}
    assert (report["passed"], report["driver"]) == (True, "570.26")
    assert [row["reason"] for row in report["libraries"]] == ["small", "small"]
    assert render(GOOD, "")["digest"] is None


# --- when evidence counts

ID = identify_audit(DIGEST, RTX, RULES)


def test_evidence_is_read_by_who_asks_the_same(tmp_path: Path) -> None:
    write_audit(tmp_path / "audit.json", ID, render(GOOD))
    assert read_audit(tmp_path / "audit.json", ID) == summarise(render(GOOD))
    assert json.loads((tmp_path / "audit.json").read_text())["audit_id"] == ID


@pytest.mark.parametrize(
    "other",
    [
        identify_audit("sha256:" + "e" * 64, RTX, RULES),
        identify_audit(DIGEST, dataclasses.replace(RTX, compute="12.1"), RULES),
        identify_audit(DIGEST, CPU, RULES),
        identify_audit(DIGEST, RTX, []),
        identify_audit(DIGEST, RTX, [rule(Coverage.NATIVE, "*.so")]),
        identify_audit(DIGEST, RTX, [rule(Coverage.JIT, "*.so", "b.so")]),
        identify_audit(DIGEST, RTX, [*RULES, rule(Coverage.NATIVE, "c.so")]),
    ],
)
def test_evidence_for_another_question_is_none(other: str, tmp_path: Path) -> None:
    write_audit(tmp_path / "audit.json", ID, render(GOOD))
    assert other != ID and read_audit(tmp_path / "audit.json", other) is None


def test_another_wording_of_the_reason_or_name_is_the_same_question() -> None:
    assert identify_audit(DIGEST, RTX, [rule(Coverage.JIT, "*.so", reason="tiny", scope=Scope(compute="12.0"))]) == ID
    assert identify_audit(DIGEST, dataclasses.replace(RTX, name="another", driver="999"), RULES) == ID


def test_no_evidence_is_none(tmp_path: Path) -> None:
    assert read_audit(tmp_path / "audit.json", ID) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "3", '"text"', f'{{"audit_id": "{ID}"}}'])
def test_damaged_evidence_is_none(text: str, tmp_path: Path) -> None:
    write(tmp_path / "audit.json", text)
    assert read_audit(tmp_path / "audit.json", ID) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("libraries", None), ("libraries", 3), ("libraries", ["a"]), ("libraries", [{}])],
        *[("libraries", [{"coverage": []}]), ("passed", "false")],
        *[("problems", None), ("problems", 3), ("problems", ["text"]), ("problems", [{}])],
    ],
)
def test_evidence_of_another_shape_never_passes(key: str, value: object, tmp_path: Path) -> None:
    write_audit(tmp_path / "audit.json", ID, render(GOOD) | {key: value})
    result = read_audit(tmp_path / "audit.json", ID)
    assert result is None or not result.passed


@pytest.mark.parametrize("key", ["libraries", "problems", "passed", "driver", "audit_id"])
def test_evidence_without_a_part_is_none(key: str, tmp_path: Path) -> None:
    report = {"audit_id": ID} | render(GOOD)
    del report[key]
    write(tmp_path / "audit.json", json.dumps(report))
    assert read_audit(tmp_path / "audit.json", ID) is None


def test_the_wheels_of_an_image_are_known_by_their_bytes_alone() -> None:
    one, two = lock_bytes(b"one", file="one-1.0-py3-none-any.whl"), lock_bytes(b"two", file="two-1.0-py3-none-any.whl")
    wheels = identify_wheels([one, two], RTX, RULES)
    assert identify_wheels([two, dataclasses.replace(one, file="other-1.0-py3-none-any.whl")], RTX, RULES) == wheels
    others = [
        identify_wheels([one], RTX, RULES),
        identify_wheels([one, dataclasses.replace(two, sha256=one.sha256)], RTX, RULES),
        identify_wheels([one, two], dataclasses.replace(RTX, compute="9.0"), RULES),
        identify_wheels([one, two], RTX, []),
    ]
    assert len({wheels, ID, *others}) == 2 + len(others)


# --- as one result


def test_a_good_audit_is_a_passed_check() -> None:
    result = summarise(render(GOOD))
    assert (result.check, result.outcome, result.detail) == ("audit", Outcome.PASSED, "1 native, 1 jit")
    assert result.measured == {"libraries": 2, "driver": "570.26"}


@pytest.mark.parametrize(
    "change",
    [
        {"libraries": []},
        {"passed": False},
        {"problems": [{"cause": "c", "place": "p", "next_step": ""}]},
        {"passed": None},
        {"libraries": [], "passed": False, "problems": [{"cause": "c", "place": "p", "next_step": ""}]},
    ],
)
def test_what_was_not_shown_to_pass_has_not(change: dict[str, Any]) -> None:
    report = copy.deepcopy(render(GOOD)) | change
    assert summarise(report).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", [name for name, audit in AUDITS.items() if not audit.passed])
def test_a_bad_audit_rejects_by_itself_and_says_why(name: str) -> None:
    result = summarise(render(AUDITS[name]))
    verdict, reasons = decide([result], ["audit", "load"])
    assert verdict is Verdict.REJECTED
    assert all(problem.cause in reasons[0] for problem in AUDITS[name].problems)


def test_a_result_without_gpu_code_says_so() -> None:
    assert summarise(render(AUDITS["nothing"])).detail.startswith("no GPU code; ")
