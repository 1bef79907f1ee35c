"""What a bundle leaves out of evidence, and what it leaves as it is."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from scripts.bundle.redacted import LONGEST_LINE, MOST_LOG, Redactor, make_redactor
from scripts.model import Outcome, Result
from scripts.redact import Private
from scripts.smoke.smoke import Evidence
from tests.unit.builders import RTX, SCENARIO, make_cell

PRIVATE = Private(frozenset({"alice", "tower"}), frozenset({"/home/alice"}), frozenset({"registry.corp"}))
REDACTOR = Redactor(PRIVATE)
EVIDENCE = Evidence("default", "0" * 64, "sha256:" + "a" * 64, (), 3.0, "2026-11-29T05:00:00Z", {})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b[1;36malice\x1b[0m says", "<name> says"),
        ("'first\\nalice'", "'first\\n <name>'"),
        ("b'a\\n/srv/secret'", "b'a\\n <path>'"),
        ("alice\x00tower\x07", "<name> <name> "),
        ("one\n\ttower\n", "one\n\t<name>\n"),
        ("/home/alice/x on tower.lan: registry.corp/vllm", "<path> on <name>: <address>/vllm"),
        ("0.4.1 +cu130, 12 ms", "0.4.1 +cu130, 12 ms"),
    ],
)
def test_a_text_is_redacted_as_a_report_is(text: str, left: str) -> None:
    assert REDACTOR.text(text) == left


def test_values_are_redacted_wherever_a_text_is_in_them() -> None:
    value = {"alice": ["on tower", 1.5, None, True, {"a": ("/x/y",)}], "seconds": 2}
    assert REDACTOR.value(value) == {"<name>": ["on <name>", 1.5, None, True, {"a": ["<path>"]}], "seconds": 2}


def test_two_keys_that_were_private_are_still_two() -> None:
    assert REDACTOR.value({"/home/alice/a": 1, "/home/alice/b": 2, "c": 3}) == {"<path>": 1, "<path>'": 2, "c": 3}


def test_a_line_that_is_cut_is_not_cut_within_a_name() -> None:
    line = "x " * (LONGEST_LINE // 2 - 1) + "alice" + " y" * 100
    assert REDACTOR.text(line).endswith("x …") and "al" not in REDACTOR.text(line)


def test_a_long_log_keeps_its_beginning_and_its_end() -> None:
    lines = [f"line {number} of tower" for number in range(20_000)]
    log = REDACTOR.log("\n".join(lines))
    kept = log.split("\n")
    assert kept[0] == "line 0 of <name>" and kept[-1] == "line 19999 of <name>"
    [middle] = [line for line in kept if line.startswith("…")]
    assert middle == f"… {20_001 - len(kept)} lines were left out …"
    assert len(log) < MOST_LOG * 1.1 and "tower" not in log
    assert REDACTOR.log("short\n") == "short\n"


@pytest.mark.parametrize("part", ["f", "a@", ".", "::", "f:", "/a", "1.", "\\n", " "])
def test_no_line_takes_long(part: str) -> None:
    line = part * (10**6 // len(part))
    started = time.process_time()
    REDACTOR.log("\n".join([line, f"{line[: LONGEST_LINE - 1]} {line}"]))
    assert time.process_time() - started < 10


def test_the_words_that_evidence_is_made_of_stay_though_they_are_somebodys_name() -> None:
    cell = make_cell(RTX, "source")
    words = {"load", "container", "gpu", "audit", "default", RTX.name, "native", "passed"}
    redactor = make_redactor(replace(PRIVATE, words=frozenset(words)), cell, [SCENARIO])
    results = tuple(Result(name, Outcome.PASSED, f"{name} of load") for name in ("load", "container", "gpu", "serve"))
    host = {"gpu": RTX.name, "driver": "580.95.05", "cpu": "8 × load", "memory_mib": "32607"}
    seen = redactor.evidence(replace(EVIDENCE, results=results, host=host))
    assert [each.check for each in seen.results] == ["load", "container", "gpu", "serve"]
    assert seen.results[0].detail == "<name> of <name>"
    assert seen.host == host | {"cpu": "8 × <name>"}
    report = {"audit_id": "0", "libraries": [{"path": "lib/load", "coverage": "native"}], "problems": []}
    assert redactor.audit(report) == report | {"libraries": [{"path": "lib/<name>", "coverage": "native"}]}
