"""What each stage gives, keeps and asks again; the audit and the registry above all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.assemble.tree import Entry, make_file
from scripts.attest.envelope import open_envelope
from scripts.attest.statement import TEST_RESULT, read_statement
from scripts.errors import ExitCode
from scripts.model import Verdict
from scripts.pipeline import Stage
from tests.unit.builders import edit
from tests.unit.pipeline.lab import LIBRARY, REGISTRY, Lab, crashing, gpu_library

CPU, GPU, PRO = "serve-cpu", "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"
CANDIDATE = "serve-cu128-sm120-wheel"
IMAGE_TOML = "images/serve/image.toml"
AUDITS = [f"{CANDIDATE} audit wheels", f"{CANDIDATE} audit"]
ACCEPT_MISSING = 'accept = "missing"\nreason = "not called"'
NAMED, EXACT = 'libraries = ["lib/*.so"]', 'libraries = ["lib/x.so"]'


# --- audits


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        pytest.param([make_file(LIBRARY, gpu_library("120", "90"))], "partly missing on 12.0", id="not good enough"),
        pytest.param([make_file("opt/y.so", gpu_library("120"))], "no rule names it", id="new"),
        pytest.param([make_file(LIBRARY, gpu_library("120"))], "was 2 native", id="less than was in its wheel"),
        pytest.param([make_file(LIBRARY, b"no code")], "is not in the image", id="lost"),
        pytest.param([make_file(LIBRARY, gpu_library("120")[:-9])], "cannot be read", id="damaged"),
    ],
)
def test_an_image_that_is_not_what_its_wheels_were_is_rejected_untested(
    entries: list[Entry], said: str, lab: Lab
) -> None:
    lab.use_registry()
    lab.workshop.altered[CANDIDATE] = entries
    row = lab.run(GPU)[GPU]
    assert lab.docker.created == [] and lab.docker.tags == {}, "what cannot run is not run"
    assert (row.verdict, row.exit_code, row.tag) == (Verdict.REJECTED, ExitCode.REJECTED, "")
    assert said in row.problems[0].cause and "audit.json" in row.problems[0].next_step
    assert not any("no result" in problem.cause for problem in row.problems)
    assert lab.registry.writes == [], "and not pushed"
    assert lab.run(GPU, last=Stage.BUILD)[GPU].exit_code is ExitCode.REJECTED
    assert lab.ran == [], "remembered"


def test_rejected_wheels_are_written_down_before_anything_is_built(lab: Lab) -> None:
    lab.write_locks("90")
    row = lab.run(GPU)[GPU]
    assert lab.ran == [f"{CANDIDATE} audit wheels"] and row.audit == "wheels rejected: 1 missing"
    assert json.loads((lab.folder(GPU) / "wheels.json").read_text())["passed"] is False
    lab.run(GPU)
    assert lab.ran == [], "and not asked again"


def test_other_rules_audit_again_and_build_nothing(lab: Lab) -> None:
    lab.run(GPU)
    edit(lab.root / IMAGE_TOML, NAMED, EXACT)
    row = lab.run(GPU)[GPU]
    assert lab.ran == AUDITS and (row.audit, row.exit_code) == ("1 native", ExitCode.ACCEPTED)


def test_other_words_for_a_reason_do_not(lab: Lab) -> None:
    edit(lab.root / IMAGE_TOML, 'accept = "native"', ACCEPT_MISSING)
    lab.run(GPU)
    edit(lab.root / IMAGE_TOML, "not called", "never called")
    lab.run(GPU)
    assert lab.ran == []


def test_rules_that_no_longer_accept_the_wheels_take_the_tags_away(lab: Lab) -> None:
    edit(lab.root / IMAGE_TOML, 'accept = "native"', ACCEPT_MISSING)
    lab.write_locks("90")
    assert lab.run(GPU)[GPU].tag in lab.tags
    edit(lab.root / IMAGE_TOML, ACCEPT_MISSING, 'accept = "native"')
    assert lab.run(GPU)[GPU].audit == "wheels rejected: 1 missing"
    assert lab.tags == set() and lab.verdict(GPU).verdict is Verdict.REJECTED


def test_rules_that_only_the_image_breaks_take_its_tags_away(lab: Lab) -> None:
    edit(lab.root / IMAGE_TOML, NAMED, 'libraries = ["lib/*.so", "opt/y.so"]')
    edit(lab.root / IMAGE_TOML, 'accept = "native"', ACCEPT_MISSING)
    lab.write_locks("120")
    lab.workshop.altered[CANDIDATE] = [make_file("opt/y.so", gpu_library("90"))]
    # The wheels have no y.so, and a pattern that decides nothing is a problem.
    assert "decides nothing" in lab.run(GPU)[GPU].problems[0].cause
    edit(lab.root / IMAGE_TOML, 'libraries = ["lib/*.so", "opt/y.so"]', 'libraries = ["*.so"]')
    assert lab.run(GPU)[GPU].tag in lab.tags
    edit(lab.root / IMAGE_TOML, 'libraries = ["*.so"]', EXACT)
    assert lab.run(GPU)[GPU].exit_code is ExitCode.REJECTED and lab.tags == set()


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_damaged_audit_is_asked_for_again(text: str, lab: Lab) -> None:
    lab.run(GPU)
    (lab.folder(GPU) / "audit.json").write_text(text)
    assert lab.run(GPU)[GPU].exit_code is ExitCode.ACCEPTED
    assert lab.ran == AUDITS[1:]


# --- evidence of the smoke test


def test_damaged_evidence_is_asked_for_again(lab: Lab) -> None:
    lab.run(CPU)
    (lab.folder(CPU) / CPU / "smoke/default.json").write_text("{")
    lab.run(CPU)
    assert lab.ran == [f"{CPU} smoke default"]


def test_evidence_of_another_digest_tags_nothing_but_what_was_tested(lab: Lab) -> None:
    digest = lab.run(CPU, last=Stage.SMOKE)[CPU].digest
    other = "sha256:" + "9" * 64
    lab.docker.tags[other] = set()
    path = lab.folder(CPU) / CPU / "smoke/default.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": other}))
    lab.run(CPU)
    assert lab.ran == [f"{CPU} smoke default"]
    assert lab.docker.tags[other] == set() and len(lab.docker.tags[digest]) == 3


# --- a registry


def manifests_written(lab: Lab) -> list[str]:
    return [urlsplit(line).path.rpartition("/")[2] for line in lab.registry.writes if "/manifests/" in line]


def test_an_audited_candidate_is_pushed_by_digest_alone(lab: Lab) -> None:
    lab.use_registry()
    lab.gpus = {}
    digest = lab.run(GPU)[GPU].digest
    assert manifests_written(lab) == [digest], "no tag: nobody has tested it"
    assert f"{CANDIDATE} push" in lab.ran
    lab.run(GPU, last=Stage.BUILD)
    assert lab.ran == [], "once"


def test_without_a_registry_nothing_is_sent(lab: Lab) -> None:
    lab.run(GPU, CPU)
    assert lab.registry.requests == []


def test_only_what_was_accepted_is_tagged_there(lab: Lab) -> None:
    lab.use_registry()
    lab.docker.smokes[CPU] = crashing
    rows = lab.run(CPU, "train-cpu")
    fixed = f"3.0-cpu-{lab.step('train-cpu').build_id[:12]}"
    tags = {name for name in lab.registry.manifests if not name.startswith("sha256:")}
    assert tags == {"cpu", "3.0-cpu", fixed}
    assert rows["train-cpu"].tag == f"{REGISTRY}/train:3.0-cpu" and rows[CPU].tag == ""
    assert lab.registry.tag("3.0-cpu") == lab.registry.tag(rows["train-cpu"].digest)


PASSED = ["audit", *(f"default/{check}" for check in ("load", "serve", "container", "gpu"))]


def attested(lab: Lab) -> list[Mapping[str, Any]]:
    """What the test results say that are in the registry."""
    envelopes = [open_envelope(blob) for blob in lab.registry.blobs.values() if b'"payloadType"' in blob]
    statements = [read_statement(envelope.payload) for envelope in envelopes]
    return [each.predicate for each in statements if each.predicate_type == TEST_RESULT]


def test_each_gpu_has_a_tag_and_an_attestation_of_its_own(lab: Lab) -> None:
    lab.use_registry()
    lab.run(GPU, PRO)
    found = attested(lab)
    assert {predicate["cell"] for predicate in found} == {GPU, PRO}
    assert [predicate["passedTests"] for predicate in found] == [PASSED] * 2
    for variant in ("cu128-5090-wheel", "cu128-pro6000-wheel"):
        assert lab.registry.tag(f"1.2.0-{variant}") == lab.registry.tag(lab.layout(GPU).digest)


def test_remembered_evidence_is_complete_too(lab: Lab) -> None:
    lab.run(GPU)
    lab.use_registry()
    lab.run(GPU)
    assert [predicate["passedTests"] for predicate in attested(lab)] == [PASSED]


def test_what_could_not_be_decided_is_asked_again(lab: Lab) -> None:
    lab.run(CPU)
    path = lab.folder(CPU) / CPU / "smoke/default.json"
    evidence = json.loads(path.read_text())
    evidence["results"][0]["outcome"] = "error"
    path.write_text(json.dumps(evidence))
    row = lab.run(CPU)[CPU]
    assert f"{CPU} smoke default" in lab.ran and row.verdict is Verdict.ACCEPTED
