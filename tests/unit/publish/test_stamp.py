from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.attest.envelope import Envelope, open_envelope
from scripts.attest.keys import Signer
from scripts.attest.provenance import PROVENANCE
from scripts.attest.sbom import BOM
from scripts.attest.statement import TEST_RESULT, read_statement
from scripts.attest.summary import SUMMARY
from scripts.errors import ConfigError, Undecided
from scripts.matrix import Tags
from scripts.model import Outcome, Result, Target
from scripts.oci.descriptor import OCI_MANIFEST
from scripts.oci.layout import Layout
from scripts.plan import PlannedCell
from scripts.publish import stamp as module
from scripts.publish.proof import Proof, describe_proof
from scripts.publish.stamp import (
    Dossier,
    name_repository,
    name_tags,
    stamp_engine,
    stamp_registry,
    withdraw,
    withdraw_registry,
)
from scripts.registry.client import Manifest
from scripts.registry.withdrawn import read_withdrawal
from scripts.smoke.smoke import Evidence
from tests.unit.attest import BUILD, make_signer, no_licences
from tests.unit.builders import CPU, RTX, make_cell, make_image
from tests.unit.fake_docker import FakeDocker
from tests.unit.registry.fake_registry import REPOSITORY, FakeRegistry, fail, make_layout, refuse

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
TAGS = Tags("image", "cpu", "1.2.0-cpu", "1.2.0-cpu-abcdef012345")
OTHERS = {"https://example.com/other": TWO}
REQUIRED = ("audit", "serve/load", "serve/container")
FIXED, MOVING, NEWEST = (f"hallmark/image:{tag}" for tag in TAGS.all)


def make_evidence(digest: str = ONE, **outcomes: Outcome) -> Evidence:
    results = tuple(Result(check, outcome) for check, outcome in outcomes.items())
    return Evidence("serve", "5" * 64, digest, results, 2.5, "2026-01-02T03:04:05Z", {"cpu": "8 × some"})


def make_proof(evidence: Evidence, *informative: Evidence) -> Proof:
    audit = Result("audit", Outcome.PASSED)
    return Proof(make_cell(CPU, "wheel"), REQUIRED, (audit,), (evidence,), informative)


PASSED = make_evidence(load=Outcome.PASSED, container=Outcome.PASSED)


# --- names


@pytest.mark.parametrize(
    ("target", "recipe", "newest"),
    [(CPU, "wheel", "cpu"), (RTX, "source", "cu128-5090"), (RTX, "wheel", "cu128-5090-wheel")],
)
def test_tags_are_the_cell_the_version_with_it_and_for_good_the_build(target: Target, recipe: str, newest: str) -> None:
    image = make_image(Path("/images/serve"))
    planned = PlannedCell(make_cell(target, recipe), image, (), image.recipes["wheel", "cpu"])
    tags = name_tags(planned, "abcdef0123456789")
    assert tags == Tags("serve", newest, f"1.2.0-{newest}", f"1.2.0-{newest}-abcdef012345")
    assert tags.all == (tags.fixed, tags.versioned, tags.newest), "an interruption never leaves a moving tag alone"


# --- the engine


def test_all_tags_are_set_on_the_digest() -> None:
    docker = FakeDocker()
    docker.tags = {ONE: set(), TWO: {MOVING, NEWEST}}
    assert stamp_engine(docker.engine(), ONE, TAGS) == MOVING
    assert docker.tags == {ONE: {FIXED, MOVING, NEWEST}, TWO: set()}


def test_tags_that_are_right_are_not_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = FakeDocker()
    docker.tags = {ONE: {FIXED, MOVING, NEWEST}}
    monkeypatch.delattr(module, "set_tag")
    assert stamp_engine(docker.engine(), ONE, TAGS) == MOVING


def test_an_image_that_is_not_there_gets_no_tag() -> None:
    with pytest.raises(Undecided):
        stamp_engine(FakeDocker().engine(), ONE, TAGS)


def test_withdrawing_takes_the_tags_of_one_digest_off() -> None:
    docker = FakeDocker()
    docker.tags = {ONE: {FIXED, MOVING, NEWEST}, TWO: {"hallmark/other:1"}}
    assert sorted(withdraw(docker.engine(), ONE, TAGS)) == [MOVING, FIXED, NEWEST]
    assert docker.tags == {ONE: set(), TWO: {"hallmark/other:1"}}
    assert withdraw(docker.engine(), ONE, TAGS) == []


def test_withdrawing_takes_off_what_an_earlier_build_with_this_digest_was_called() -> None:
    docker = FakeDocker()
    docker.tags = {ONE: {MOVING, f"{MOVING}-000000000000"}}
    assert sorted(withdraw(docker.engine(), ONE, TAGS)) == [MOVING, f"{MOVING}-000000000000"]


def test_withdrawing_leaves_the_tags_of_other_targets_and_of_strangers() -> None:
    docker = FakeDocker()
    others = {
        "hallmark/image:1.2.0-cpu2",
        "hallmark/image:cpu2",
        "hallmark/image:cpu-wheel",
        "hallmark/image:1.1.0-cpu",
        "hallmark/other:cpu",
        "hallmark/image:1.2.0-cpu-wheel",
        "hallmark/image:1.2.0-cpu-wheel-abcdef012345",
        "hallmark/image:1x2x0-cpu",
        "hallmark/image:1.2.0-cpu-abcdef01234",
        "hallmark/other:1.2.0-cpu",
        "mine/hallmark/image:1.2.0-cpu",
        "hallmarked/other:1",
    }
    docker.tags = {ONE: {FIXED, MOVING, *others}}
    assert sorted(withdraw(docker.engine(), ONE, TAGS)) == [MOVING, FIXED]
    assert docker.tags == {ONE: others}


def test_one_digest_is_stamped_once_for_each_gpu() -> None:
    other = Tags("image", "cu128-pro6000", "1.2.0-cu128-pro6000", "1.2.0-cu128-pro6000-abcdef012345")
    docker = FakeDocker()
    docker.tags = {ONE: set()}
    stamp_engine(docker.engine(), ONE, TAGS)
    stamp_engine(docker.engine(), ONE, other)
    withdraw(docker.engine(), ONE, TAGS)
    assert docker.tags == {ONE: {f"hallmark/image:{tag}" for tag in other.all}}


# --- a registry


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "layout", "candidate")


def publish(fake: FakeRegistry, layout: Layout, tmp_path: Path, signer: Signer | None = None) -> str:
    evidence = make_evidence(layout.digest, load=Outcome.PASSED, container=Outcome.PASSED)
    dossier = Dossier(TAGS, make_proof(evidence), BUILD, no_licences, signer)
    return stamp_registry(fake.client(), REPOSITORY, layout, dossier, tmp_path / "locks")


def take_back(fake: FakeRegistry, digest: str, tmp_path: Path, signer: Signer | None = None) -> list[str]:
    later = replace(make_evidence(digest, load=Outcome.FAILED), finished="2026-02-02T03:04:05Z")
    dossier = Dossier(TAGS, make_proof(later), BUILD, no_licences, signer)
    locks = tmp_path / "locks"
    return withdraw_registry(fake.client(), REPOSITORY, digest, dossier, "rejected: it crashed", locks)


def test_a_candidate_is_pushed_with_its_evidence_and_then_tagged(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    assert publish(fake, layout, tmp_path) == f"{REPOSITORY}:1.2.0-cpu"
    manifest = layout.blob_path(layout.digest).read_bytes()
    assert {fake.tag(tag) for tag in TAGS.all} == {manifest}
    attached = read_attached(fake)
    assert {content["subject"]["digest"] for content, _ in attached} == {layout.digest}
    assert {envelope.signatures for _, envelope in attached} == {()}
    said = {each.predicate_type: each for each in (read_statement(envelope.payload) for _, envelope in attached)}
    assert said.keys() == {TEST_RESULT, PROVENANCE, BOM, SUMMARY}
    assert {each.subjects for each in said.values()} == {frozenset({layout.digest})}
    tested = said[TEST_RESULT].predicate
    assert tested["tags"] == [TAGS.fixed, TAGS.versioned, TAGS.newest]
    named = {kind: f"sha256:{digest['sha256']}" for kind, digest in tested["statements"].items()}
    assert named == {kind: said[kind].digest for kind in (PROVENANCE, BOM)}
    [sbom] = said[PROVENANCE].predicate["runDetails"]["byproducts"]
    assert f"sha256:{sbom['digest']['sha256']}" == said[BOM].digest
    summary = said[SUMMARY].predicate
    assert (summary["verificationResult"], summary["verifiedLevels"]) == ("PASSED", ["SLSA_BUILD_LEVEL_1"])
    assert summary["policy"]["uri"] == "urn:hallmark:cell:serve-cpu"
    assert summary["timeVerified"] == tested["finished"]
    read = [f"sha256:{each['digest']['sha256']}" for each in summary["inputAttestations"]]
    assert read == [said[kind].digest for kind in (TEST_RESULT, PROVENANCE, BOM)]


def read_attached(fake: FakeRegistry) -> list[tuple[dict[str, Any], Envelope]]:
    """What is attached to anything: each manifest, and the envelope that it holds."""
    found = [json.loads(data) for data, kind in fake.manifests.values() if kind == OCI_MANIFEST and b"subject" in data]
    return [(content, open_envelope(fake.blobs[content["layers"][0]["digest"]])) for content in found]


def test_what_is_attached_is_typed_as_others_look_for_it(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    publish(fake, layout, tmp_path)
    kinds = set()
    for content, envelope in read_attached(fake):
        kinds.add(kind := read_statement(envelope.payload).predicate_type)
        notes = {"predicateType": kind, "in-toto.io/predicate-type": kind}
        assert content["artifactType"] == "application/vnd.in-toto+json"
        assert content["annotations"] == notes
        [layer] = content["layers"]
        assert (layer["mediaType"], layer["annotations"]) == ("application/vnd.dsse.envelope.v1+json", notes)
    assert len(kinds) == 4


def test_with_a_key_what_is_attached_is_signed_and_twice_the_same(layout: Layout, tmp_path: Path) -> None:
    fake, signer = FakeRegistry(), make_signer()
    publish(fake, layout, tmp_path, signer)
    before = dict(fake.manifests)
    publish(fake, layout, tmp_path, signer)
    assert fake.manifests == before
    assert all(envelope.is_signed_by(signer.public) for _, envelope in read_attached(fake))


def test_no_tag_is_set_before_the_evidence_is_there(layout: Layout, tmp_path: Path) -> None:
    for at in range(1, 100):
        fake = FakeRegistry()
        fake.faults, fake.from_then_on = {at: fail}, True
        try:
            publish(fake, layout, tmp_path)
        except Undecided:
            tagged = [tag for tag in TAGS.all if fake.tag(tag)]
            assert not tagged or any(b"subject" in data for data, _ in fake.manifests.values())
            assert tagged == list(TAGS.all[: len(tagged)]), "the moving tags follow the fixed one, in their order"
        else:
            break
    assert at > 10


def test_withdrawing_leaves_a_tag_that_names_no_image_and_says_why(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry(deletes_tags=False)
    publish(fake, layout, tmp_path)
    assert take_back(fake, layout.digest, tmp_path) == list(TAGS.all)
    for tag in TAGS.moving:
        held = fake.client().get_manifest(REPOSITORY, tag)
        assert held and json.loads(held.data)["manifests"] == []
        found = read_withdrawal(held)
        assert found and (found.digest, found.reason) == (layout.digest, "rejected: it crashed")
    assert fake.tag(TAGS.fixed) == layout.blob_path(layout.digest).read_bytes(), "as was promised"
    assert take_back(fake, layout.digest, tmp_path) == [TAGS.fixed], "there is nothing more to take"
    assert publish(fake, layout, tmp_path) and len({fake.tag(tag) for tag in TAGS.all}) == 1, "and it can come back"


def test_a_tag_that_cannot_be_withdrawn_keeps_none_of_the_others(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    publish(fake, layout, tmp_path)
    fake.gate = lambda request: (
        refuse(request, 403, "DENIED") if request.method == "PUT" and f"/{TAGS.versioned}" in str(request.url) else None
    )
    with pytest.raises(Undecided, match="403 DENIED"):
        take_back(fake, layout.digest, tmp_path)
    assert read_withdrawal(Manifest(fake.tag(TAGS.newest) or b"", ""))
    assert fake.tag(TAGS.versioned) == layout.blob_path(layout.digest).read_bytes()


def test_another_version_leaves_the_tag_of_this_one(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    publish(fake, layout, tmp_path)
    later = make_layout(tmp_path / "later", "later")
    tags = Tags("image", "cpu", "1.3.0-cpu", "1.3.0-cpu-0123456789ab")
    evidence = make_evidence(later.digest, load=Outcome.PASSED, container=Outcome.PASSED)
    dossier = Dossier(tags, make_proof(evidence), BUILD, no_licences)
    stamp_registry(fake.client(), REPOSITORY, later, dossier, tmp_path / "locks")
    old, new = (each.blob_path(each.digest).read_bytes() for each in (layout, later))
    assert {tag: fake.tag(tag) for tag in (*TAGS.all, *tags.all)} == {
        TAGS.fixed: old,
        TAGS.versioned: old,
        tags.fixed: new,
        tags.versioned: new,
        TAGS.newest: new,
    }
    assert take_back(fake, layout.digest, tmp_path) == [TAGS.fixed, TAGS.versioned]
    assert fake.tag("cpu") == new, "what is said of an earlier version takes nothing off this one"


def test_what_was_rejected_is_said_of_an_image_that_has_a_tag(layout: Layout, tmp_path: Path) -> None:
    fake, signer = FakeRegistry(), make_signer()
    publish(fake, layout, tmp_path, signer)
    take_back(fake, layout.digest, tmp_path, signer)
    said = [read_statement(envelope.payload) for _, envelope in read_attached(fake)]
    results = {each.predicate["finished"]: each.predicate["result"] for each in said if "finished" in each.predicate}
    assert results == {"2026-01-02T03:04:05Z": "PASSED", "2026-02-02T03:04:05Z": "FAILED"}
    assert [each.predicate["verifiedLevels"] for each in said if each.predicate.get("verificationResult") == "FAILED"]
    assert all(envelope.is_signed_by(signer.public) for _, envelope in read_attached(fake))


def test_a_tag_that_is_elsewhere_stays_there(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    publish(fake, layout, tmp_path)
    before, fake.requests = dict(fake.manifests), []
    assert take_back(fake, TWO, tmp_path) == [] and fake.manifests == before and fake.writes == []


def test_a_rejected_image_loses_its_tag_before_anything_is_said_of_it(layout: Layout, tmp_path: Path) -> None:
    image = layout.blob_path(layout.digest).read_bytes()
    for at in range(1, 200, 3):
        fake = FakeRegistry()
        publish(fake, layout, tmp_path)
        fake.requests, fake.faults, fake.from_then_on = [], {at: fail}, True
        try:
            take_back(fake, layout.digest, tmp_path)
        except Undecided:
            said = any(b"FAILED" in blob for blob in map(read_payload, fake.blobs.values()))
            assert not said or all(map(is_withdrawn, map(fake.tag, TAGS.moving)))
            fake.faults = {}
            take_back(fake, layout.digest, tmp_path)
            assert all(map(is_withdrawn, map(fake.tag, TAGS.moving)))
        else:
            break
        assert fake.tag(TAGS.fixed) == image
    assert at > 10


def is_withdrawn(held: bytes | None) -> bool:
    return read_withdrawal(Manifest(held or b"", "")) is not None


def read_payload(blob: bytes) -> bytes:
    try:
        return open_envelope(blob).payload
    except ValueError:
        return b""


def test_an_image_has_a_repository_of_its_own_under_the_sites_name() -> None:
    assert str(name_repository("registry.example.com/team", "vllm")) == "registry.example.com/team/vllm"


@pytest.mark.parametrize("name", ["team", "https://registry.example.com", "Registry.example.com/Team"])
def test_a_registry_that_cannot_be_meant_is_a_mistake(name: str) -> None:
    with pytest.raises(ConfigError):
        name_repository(name, "image")


# --- the statement


def predicate(evidence: Evidence, *informative: Evidence) -> dict[str, Any]:
    return describe_proof(make_proof(evidence, *informative), TAGS.all, OTHERS)


def test_a_statement_says_what_was_tested_and_as_what() -> None:
    assert predicate(PASSED) == {
        "result": "PASSED",
        "configuration": [{"name": "serve", "digest": {"sha256": "5" * 64}}],
        "passedTests": ["audit", "serve/load", "serve/container"],
        "warnedTests": [],
        "failedTests": [],
        "requiredTests": ["audit", "serve/load", "serve/container"],
        "informativeTests": [],
        "cell": "serve-cpu",
        "target": {"id": "cpu", "name": CPU.name, "compute": ""},
        "cuda": None,
        "tags": ["1.2.0-cpu-abcdef012345", "1.2.0-cpu", "cpu"],
        "hosts": [{"cpu": "8 × some"}],
        "statements": {"https://example.com/other": {"sha256": "2" * 64}},
        "finished": "2026-01-02T03:04:05Z",
    }


def test_a_statement_about_a_gpu_names_it_and_its_cuda_line() -> None:
    made = describe_proof(replace(make_proof(PASSED), cell=make_cell(RTX, "wheel")), TAGS.all, {})
    assert made["target"] == {"id": "5090", "name": RTX.name, "compute": "12.0"}
    assert made["cuda"]["line"] == "12.8"


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SKIPPED, Outcome.ERROR])
def test_evidence_with_anything_but_passed_says_failed(outcome: Outcome) -> None:
    made = predicate(make_evidence(load=Outcome.PASSED, serve=outcome, container=Outcome.PASSED))
    assert (made["result"], made["failedTests"], made["warnedTests"]) == ("FAILED", ["serve/serve"], [])
    assert made["passedTests"] == ["audit", "serve/load", "serve/container"]


def test_what_fails_where_nothing_is_decided_is_a_warning() -> None:
    other = replace(make_evidence(load=Outcome.FAILED), scenario="extra", finished="2026-01-02T04:00:00Z")
    made = predicate(PASSED, other)
    assert (made["result"], made["failedTests"], made["warnedTests"]) == ("WARNED", [], ["extra/load"])
    assert (made["requiredTests"], made["informativeTests"]) == (list(REQUIRED), ["extra/load"])
    assert [each["name"] for each in made["configuration"]] == ["serve", "extra"]
    assert made["finished"] == "2026-01-02T04:00:00Z" and len(made["hosts"]) == 1
    assert predicate(make_evidence(load=Outcome.FAILED), other)["result"] == "FAILED"


def test_evidence_of_nothing_says_failed() -> None:
    assert predicate(make_evidence())["result"] == "FAILED"
    assert predicate(make_evidence(load=Outcome.PASSED))["result"] == "FAILED", "a required check has no result"
    made = describe_proof(replace(make_proof(PASSED), required=()), TAGS.all, {})
    assert made["result"] == "FAILED", "nothing was required, so nothing was shown"
