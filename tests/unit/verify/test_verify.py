"""`verify` accepts what was accepted, and refuses everything else, each with its own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.errors import ExitCode
from scripts.model import Outcome, Verdict
from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, digest_of
from scripts.verdict import EXIT_CODES
from scripts.verify import artifacts
from scripts.verify.verify import STEPS, Verification
from tests.unit.attest import make_signer
from tests.unit.builders import CPU, make_cell
from tests.unit.registry.fake_registry import FakeRegistry, drop, reply, unauthorized
from tests.unit.verify import CELL, EXPECTED, HOST, NEWEST, REQUIRED, TAG, World, make_predicate

OTHER = "sha256:" + "9" * 64


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def refused(found: Verification) -> tuple[str, str]:
    """The one step that failed, and its words."""
    assert found.verdict is Verdict.REJECTED
    assert EXIT_CODES[found.verdict] == ExitCode.REJECTED
    [(check, detail)] = [(each.check, each.detail) for each in found.results if each.outcome is Outcome.FAILED]
    return check, detail


# --- what is accepted


@pytest.mark.parametrize("referrers", [True, False], ids=["the referrers API", "the fallback tag"])
def test_an_accepted_image_is_accepted_in_every_step(referrers: bool, tmp_path: Path) -> None:
    world = World(tmp_path, FakeRegistry(referrers=referrers))
    world.say()
    found = world.verify(expected=EXPECTED)
    assert found.verdict is Verdict.ACCEPTED
    assert [each.check for each in found.results] == list(STEPS)
    assert all(each.passed for each in found.results)
    assert found.digest == world.digest
    assert found.tested and found.tested.cell == CELL.id


def test_it_writes_nothing_into_the_registry(world: World) -> None:
    world.say()
    before = len(world.fake.writes)
    world.verify()
    assert len(world.fake.writes) == before


def test_without_a_checkout_the_statement_alone_says_what_was_required(world: World) -> None:
    world.say()
    found = world.verify()
    assert found.verdict is Verdict.ACCEPTED
    [checks] = [each.detail for each in found.results if each.check == "checks"]
    assert "this installation does not know the cell" in checks


def test_a_digest_is_verified_as_the_one_cell_that_it_was_tested_as(world: World) -> None:
    world.say()
    assert world.verify(tag="", digest=world.digest).verdict is Verdict.ACCEPTED
    assert world.verify(tag="", digest=world.digest, cell=CELL.id).verdict is Verdict.ACCEPTED


def test_of_a_digest_that_is_several_cells_it_must_be_said_which(world: World) -> None:
    world.say()
    world.say(make_predicate(cell="serve-cu128-pro6000"))
    found = world.verify(tag="", digest=world.digest)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "say with --cell which you mean" in found.results[-1].detail
    assert world.verify(tag="", digest=world.digest, cell=CELL.id).verdict is Verdict.ACCEPTED


def test_a_warning_is_no_failure(world: World) -> None:
    world.say(make_predicate(result="WARNED", warnedTests=["extra/load"], informativeTests=["extra/load"]))
    assert world.verify(expected=EXPECTED).verdict is Verdict.ACCEPTED


def test_a_cell_without_a_gpu_needs_none(world: World) -> None:
    world.say(make_predicate(make_cell(CPU, "wheel"), {"cpu": "8 × some"}))
    assert world.verify().verdict is Verdict.ACCEPTED


def test_what_others_attach_does_not_count(world: World) -> None:
    world.say(make_predicate(result="FAILED"), make_signer(2))
    world.say(signed=False, predicate=make_predicate(result="FAILED"))
    world.attach(b"garbage")
    world.say()
    found = world.verify()
    assert found.verdict is Verdict.ACCEPTED
    details = {each.check: each.detail for each in found.results}
    assert details["attached"] == "9 statements attached; 1 more cannot be read"
    assert details["signature"].endswith("6 more are not, and do not count")


def test_the_newest_result_counts(world: World) -> None:
    world.say(make_predicate(result="FAILED", finished="2026-01-01T00:00:00Z"))
    world.say()
    assert world.verify().verdict is Verdict.ACCEPTED
    world.say(make_predicate(result="FAILED", finished="2026-02-01T00:00:00Z"))
    assert refused(world.verify())[0] == "result"


def test_of_two_results_of_one_moment_the_worse_counts(world: World) -> None:
    world.say(make_predicate(result="FAILED"))
    world.say()
    assert refused(world.verify())[0] == "result"


def test_every_page_of_what_is_attached_is_read(world: World) -> None:
    for number in range(4):
        world.say(make_predicate(finished=f"2026-01-0{number + 1}T00:00:00Z"))
    world.say(make_predicate(result="FAILED", finished="2026-03-01T00:00:00Z"))
    world.fake.page = 1
    assert refused(world.verify())[0] == "result"


# --- signatures


def test_what_nobody_signed_is_refused(world: World) -> None:
    world.say(signed=False)
    assert refused(world.verify()) == ("signature", "nobody has signed it")


def test_another_key_is_refused(world: World) -> None:
    world.say(signer=make_signer(2))
    step, words = refused(world.verify())
    assert step == "signature"
    assert words.startswith("signed, and not by this key") and make_signer(2).public.id[:16] in words


def test_without_a_signature_asked_for_it_says_so(world: World) -> None:
    world.say(signed=False)
    found = world.verify(signature=False)
    assert found.verdict is Verdict.ACCEPTED and found.signer == {}
    [signature] = [each for each in found.results if each.check == "signature"]
    assert signature.outcome is Outcome.SKIPPED and "not looked at" in signature.detail


def test_a_right_signature_over_another_digest_is_refused(world: World) -> None:
    world.say(digest=OTHER)
    assert refused(world.verify()) == ("subject", f"what is said is said of another image: {OTHER}")


# --- what is said


def test_a_signed_failure_is_refused(world: World) -> None:
    world.say(make_predicate(result="FAILED", failedTests=["serve/load"]))
    found = world.verify()
    failed = {each.check: each.detail for each in found.results if each.outcome is Outcome.FAILED}
    assert failed == {"result": "the result is FAILED: serve/load", "checks": "failed: serve/load"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"passedTests": ["audit", "serve/container"]}, "required, and not passed: serve/load"),
        ({"passedTests": [*REQUIRED, "serve/more"]}, "nobody asked for: serve/more"),
        ({"warnedTests": ["extra/load"]}, "nobody asked for: extra/load"),
        ({"failedTests": ["extra/load"], "informativeTests": ["extra/load"]}, "failed: extra/load"),
        ({"passedTests": [*REQUIRED, "audit"]}, "named twice: audit"),
        ({"warnedTests": ["audit"]}, "named twice: audit"),
        ({"requiredTests": [], "passedTests": []}, "no check is required, so nothing was shown"),
    ],
)
def test_exactly_the_required_checks_must_have_passed(changes: dict[str, Any], words: str, world: World) -> None:
    world.say(make_predicate(**changes))
    assert refused(world.verify()) == ("checks", words)


@pytest.mark.parametrize(
    ("required", "words"),
    [
        ({*REQUIRED, "serve/kernels"}, "this checkout requires more, so another version was tested: serve/kernels"),
        ({*REQUIRED} - {"serve/load"}, "this checkout does not know: serve/load"),
    ],
)
def test_a_checkout_that_knows_the_cell_says_what_is_required(required: set[str], words: str, world: World) -> None:
    world.say()
    assert refused(world.verify(expected=replace(EXPECTED, required=frozenset(required)))) == ("checks", words)


def test_a_checkout_knows_what_decides_nothing_too(world: World) -> None:
    world.say(make_predicate(passedTests=[*REQUIRED, "odd/load"], informativeTests=["odd/load"]))
    assert refused(world.verify(expected=EXPECTED)) == ("checks", "this checkout does not know: odd/load")


def test_a_pass_of_another_cell_is_refused(world: World) -> None:
    world.say(make_predicate(cell="serve-cu128-h200", tags=["1.2.0-cu128-h200"]))
    words = f"tested as serve-cu128-h200 (tags 1.2.0-cu128-h200), and not as the tag {TAG}"
    assert refused(world.verify()) == ("cell", words)
    step, words = refused(world.verify(tag="", digest=world.digest, cell=CELL.id))
    assert step == "cell" and words.endswith(f"and not as {CELL.id}")


def test_a_tag_of_the_same_digest_for_another_cell_is_not_the_one_asked_for(world: World) -> None:
    world.say()
    assert refused(world.verify(cell="serve-cu128-h200"))[0] == "cell"


def test_a_pass_on_another_gpu_is_refused(world: World) -> None:
    world.say(make_predicate(host=HOST | {"gpu": "NVIDIA H200"}))
    assert refused(world.verify()) == ("target", "it was seen on NVIDIA H200, and is for RTX 5090")


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ([], "it does not say on which machine"),
        ([{"cpu": "8 × some"}], "it was seen on no GPU, and is for RTX 5090"),
        ([HOST, HOST | {"gpu": "other"}], "it was seen on RTX 5090, other, and is for"),
        ([HOST | {"driver": ""}], "it does not say with which driver"),
    ],
)
def test_where_it_was_seen_must_be_said(hosts: list[dict[str, str]], words: str, world: World) -> None:
    world.say(make_predicate(hosts=hosts))
    step, said = refused(world.verify())
    assert step == "target" and said.startswith(words)


@pytest.mark.parametrize("field", ["id", "name", "compute", "cuda"])
def test_a_checkout_says_what_a_cell_is_for(field: str, world: World) -> None:
    world.say()
    expected = replace(EXPECTED, target=replace(EXPECTED.target, **{field: "other"}))
    step, words = refused(world.verify(expected=expected))
    assert step == "target" and "and serve-cu128-5090-wheel is for" in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"result": 1}, "a test result of another form"),
        ({"passedTests": "audit"}, "a test result of another form"),
        ({"hosts": [1]}, "a test result of another form"),
        ({"target": None}, "a test result of another form"),
        ({"cuda": "13"}, "a test result of another form"),
        ({"finished": "yesterday"}, "a test result without the time of its end"),
    ],
)
def test_a_test_result_of_another_form_is_refused(changes: dict[str, Any], words: str, world: World) -> None:
    world.say(make_predicate(**changes))
    assert refused(world.verify()) == ("cell", words)


def test_a_test_result_of_an_earlier_version_says_what_it_lacks(world: World) -> None:
    predicate = make_predicate()
    del predicate["requiredTests"]
    world.say(predicate)
    assert refused(world.verify()) == ("cell", "a test result without 'requiredTests'")


def test_what_could_upset_a_terminal_is_made_harmless(world: World) -> None:
    world.say(make_predicate(cell="serve\x1b[2J"))
    found = world.verify()
    assert found.tested and found.tested.cell == "serve\\x1b[2J"


def test_a_statement_of_another_kind_is_no_test_result(world: World) -> None:
    world.say(kind="https://example.com/praise")
    assert refused(world.verify()) == ("cell", "none is a test result: https://example.com/praise")


# --- what is attached


def test_an_image_with_nothing_attached_is_refused(world: World) -> None:
    assert refused(world.verify()) == ("attached", "nothing is attached to it that says what it was tested for")


def test_an_image_that_is_not_there_is_refused(world: World) -> None:
    assert refused(world.verify(tag="other")) == ("image", "the registry has no registry.example.com/team/image:other")


def test_garbage_is_refused(world: World) -> None:
    artifact = world.attach(b"garbage")
    assert refused(world.verify()) == ("attached", f"what is attached cannot be read: {artifact}: not a JSON object")


def _lose_manifest(world: World, artifact: str) -> None:
    listed = json.dumps({"manifests": [{"digest": artifact, "artifactType": "application/vnd.in-toto+json"}]}).encode()
    world.fake.manifests = {TAG: world.fake.manifests[TAG], world.digest: world.fake.manifests[world.digest]}
    world.fake.referrers = False
    world.fake.store(listed, world.digest.replace(":", "-"), media_type=OCI_INDEX)


def _lose_blob(world: World, artifact: str) -> None:
    del world.fake.blobs[world.artifacts()[artifact]["layers"][0]["digest"]]


def _spoil_blob(world: World, artifact: str) -> None:
    digest = world.artifacts()[artifact]["layers"][0]["digest"]
    world.fake.blobs[digest] = world.fake.blobs[digest].swapcase()


def _spoil_manifest(world: World, artifact: str) -> None:
    data, kind = world.fake.manifests[artifact]
    world.fake.manifests[artifact] = data + b" ", kind


def _alter(change: Callable[[dict[str, Any]], Any]) -> Callable[[World, str], None]:
    """The artifact's manifest, changed by someone who gives it the digest that it then has, and lists it."""

    def alter(world: World, artifact: str) -> None:
        content = json.loads(world.fake.manifests.pop(artifact)[0])
        change(content)
        data = json.dumps(content).encode()
        world.fake.store(data)
        _lose_manifest(world, digest_of(data))
        world.fake.store(data, media_type=OCI_MANIFEST)

    return alter


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_lose_manifest, "it is listed, and the registry does not have it"),
        (_lose_blob, "the registry does not have its envelope"),
        (_spoil_blob, "the registry serves other bytes under this digest"),
        (_spoil_manifest, "the registry serves other bytes under this digest"),
        (_alter(lambda content: content["subject"].update(digest=OTHER)), "and belongs to another"),
        (_alter(lambda content: content.update(subject=[1])), "its subject is none"),
        (_alter(lambda content: content["layers"].clear()), "it does not hold one thing"),
        (_alter(lambda content: content.update(layers=[1])), "where a sha256 digest belongs"),
        (_alter(lambda content: content["layers"][0].update(mediaType="text/html")), "it holds 'text/html'"),
        (_alter(lambda content: content["layers"][0].update(size=1 << 40)), "its envelope has 1099511627776 bytes"),
    ],
)
def test_damage_is_refused_with_its_cause(damage: Callable[[World, str], None], words: str, world: World) -> None:
    damage(world, world.say(kind="https://example.com/praise"))
    step, said = refused(world.verify())
    assert step == "attached" and words in said


def test_where_the_test_result_alone_cannot_be_read_it_is_said_why(world: World) -> None:
    _spoil_blob(world, world.say())
    step, said = refused(world.verify())
    assert step == "cell" and "none is a test result: https://cyclonedx.org/bom" in said
    assert "the registry serves other bytes under this digest" in said


def test_a_list_that_is_none_is_refused(world: World) -> None:
    world.fake.referrers = False
    for data in (b"[]", b"<html>"):
        world.fake.store(data, world.digest.replace(":", "-"), media_type=OCI_INDEX)
        step, words = refused(world.verify())
        assert step == "attached" and words.startswith("the list of what is attached cannot be believed")
    world.fake.store(b'{"manifests": [1, {"artifactType": 2}]}', world.digest.replace(":", "-"), media_type=OCI_INDEX)
    assert refused(world.verify())[1].startswith("nothing is attached")


def test_a_list_without_an_end_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MOST_ARTIFACTS", 3)
    world.say()
    assert world.verify().verdict is Verdict.ACCEPTED
    world.say(make_predicate(finished="2026-02-01T00:00:00Z"))
    assert "4 statements are attached, and at most 3 are read" in refused(world.verify())[1]


def test_pages_without_an_end_are_not_followed_for_ever(world: World) -> None:
    world.fake.page = 0
    world.say()
    found = world.verify()
    assert found.verdict is Verdict.INCONCLUSIVE and "more than 20 pages" in found.results[-1].detail


def test_a_page_for_people_is_no_list_of_referrers(world: World) -> None:
    world.fake.referrers = False
    world.say()

    def greet(request: requests.PreparedRequest) -> requests.Response | None:
        return (
            reply(request, 200, b"<html>", {"Content-Type": "text/html"}) if "referrers" in str(request.url) else None
        )

    world.fake.gate = greet
    assert world.verify().verdict is Verdict.ACCEPTED


# --- between the first request and the last


def test_the_tag_without_a_version_is_verified_as_the_other(world: World) -> None:
    world.say()
    found = world.verify(tag=NEWEST, expected=EXPECTED)
    assert found.verdict is Verdict.ACCEPTED and [each.check for each in found.results] == list(STEPS)
    assert found.results[0].detail == f"{NEWEST} is {world.digest}"


def test_a_result_that_does_not_name_the_tag_without_a_version_is_none_for_it(world: World) -> None:
    world.say(make_predicate(tags=[TAG]))
    assert refused(world.verify(tag=NEWEST)) == (
        "cell",
        f"tested as {CELL.id} (tags {TAG}), and not as the tag {NEWEST}",
    )


@pytest.mark.parametrize("tag", [TAG, NEWEST])
def test_a_tag_that_moved_meanwhile_is_refused(tag: str, world: World) -> None:
    world.say()
    asked = 0

    def move(request: requests.PreparedRequest) -> requests.Response | None:
        nonlocal asked
        if str(request.url).endswith(f"/manifests/{tag}"):
            asked += 1
            if asked == 2:
                world.fake.store(b'{"other": 1}', tag)
        return None

    world.fake.gate = move
    moved = digest_of(b'{"other": 1}')
    assert refused(world.verify(tag=tag)) == ("unmoved", f"{tag} moved meanwhile, and is {moved} now")


def test_a_registry_that_cannot_be_reached_decides_nothing(world: World) -> None:
    world.say()
    requests_needed = len(world.fake.requests)
    assert world.verify().verdict is Verdict.ACCEPTED
    count = len(world.fake.requests) - requests_needed
    assert count > 4
    for fault in (drop, unauthorized):
        for at in range(1, count + 1):
            world.fake.requests.clear()
            world.fake.faults, world.fake.from_then_on = {at: fault}, True
            found = world.verify()
            assert found.verdict is Verdict.INCONCLUSIVE, f"request {at}"
            assert EXIT_CODES[found.verdict] == ExitCode.INCONCLUSIVE
            assert "next: " in found.results[-1].detail


def test_what_was_shown_wrong_outranks_what_could_not_be_asked(world: World) -> None:
    world.say(make_predicate(result="FAILED"))
    asked = 0

    def lose(request: requests.PreparedRequest) -> requests.Response | None:
        nonlocal asked
        asked += str(request.url).endswith(f"/manifests/{TAG}")
        return drop(world.fake, request) if asked > 1 else None

    world.fake.gate = lose
    found = world.verify()
    assert found.results[-1].outcome is Outcome.ERROR
    assert found.verdict is Verdict.REJECTED
