"""Promotion: whatever a registry does at whatever moment, a tag holds its old bytes or the right new ones."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.errors import BuildFailed, ConfigError, Undecided
from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor, digest_of
from scripts.oci.layout import Layout
from scripts.publish import move as move_module
from scripts.publish.move import Overtaken, hold_tag
from scripts.publish.promote import Promotion, promote, push_candidate, withdraw_tag
from scripts.registry.client import Manifest
from scripts.registry.failures import DigestMismatch, RegistryRefused
from scripts.registry.withdrawn import read_withdrawal
from tests.unit.registry.attached import attach_one
from tests.unit.registry.fake_registry import (
    FAULTS,
    REPOSITORY,
    FakeRegistry,
    cut_short,
    drop,
    make_layout,
    refuse,
    reply,
    wrong_bytes,
)

OLD = b'{"schemaVersion": 2, "layers": [], "old": true}'
SUBJECT = Descriptor("sha256:" + "5" * 64, 1234, OCI_MANIFEST)
FALLBACK_TAG = "sha256-" + "5" * 64


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "layout", "candidate")


def manifest_bytes(layout: Layout) -> bytes:
    return layout.blob_path(layout.digest).read_bytes()


def blobs_of(layout: Layout) -> dict[str, bytes]:
    return {blob.digest: layout.blob_path(blob.digest).read_bytes() for blob in (layout.config, *layout.layers)}


def publish(fake: FakeRegistry, layout: Layout, lock_folder: Path) -> Promotion:
    client = fake.client()
    return promote(client, REPOSITORY, push_candidate(client, REPOSITORY, layout), "v1", lock_folder)


def attach_report(fake: FakeRegistry, lock_folder: Path, payload: bytes = b"report") -> str:
    return attach_one(fake.client(), REPOSITORY, SUBJECT, "application/vnd.x", payload, "application/json", lock_folder)


# --- the way it goes when nothing fails


def test_a_pushed_candidate_is_there_by_digest_and_has_no_tag(layout: Layout) -> None:
    fake = FakeRegistry()
    assert push_candidate(fake.client(), REPOSITORY, layout) == layout.digest
    assert fake.blobs == blobs_of(layout)
    assert fake.manifests == {layout.digest: (manifest_bytes(layout), OCI_MANIFEST)}


def test_the_manifest_goes_last(layout: Layout) -> None:
    fake = FakeRegistry()
    push_candidate(fake.client(), REPOSITORY, layout)
    assert [write for write in fake.writes if "/manifests/" in write] == fake.writes[-1:]


@pytest.mark.parametrize("says_sizes", [True, False])
def test_a_candidate_that_is_there_is_not_sent_again(layout: Layout, says_sizes: bool) -> None:
    fake = FakeRegistry()
    fake.says_sizes = says_sizes
    push_candidate(fake.client(), REPOSITORY, layout)
    fake.requests.clear()
    assert push_candidate(fake.client(), REPOSITORY, layout) == layout.digest
    assert fake.writes == []


def test_a_blob_that_went_missing_is_sent_again(layout: Layout) -> None:
    fake = FakeRegistry()
    push_candidate(fake.client(), REPOSITORY, layout)
    del fake.blobs[layout.layers[1].digest]
    push_candidate(fake.client(), REPOSITORY, layout)
    assert fake.blobs == blobs_of(layout)


def test_a_layout_that_is_damaged_here_is_not_sent(layout: Layout) -> None:
    layout.blob_path(layout.layers[0].digest).write_bytes(b"")
    fake = FakeRegistry()
    with pytest.raises(BuildFailed, match=layout.layers[0].digest):
        push_candidate(fake.client(), REPOSITORY, layout)
    assert fake.requests == []


def test_a_tag_gets_the_manifests_own_bytes(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    old = fake.store(OLD, "v1")
    assert publish(fake, layout, tmp_path) == Promotion(f"{REPOSITORY}:v1", layout.digest, old, changed=True)
    assert fake.tag("v1") == manifest_bytes(layout)


@pytest.mark.parametrize("name", FAULTS)
def test_withdrawing_leaves_a_tag_as_it_was_or_withdrawn(name: str, layout: Layout, tmp_path: Path) -> None:
    image = manifest_bytes(layout)
    for at in range(1, 20):
        fake = FakeRegistry()
        publish(fake, layout, tmp_path)
        fake.requests, fake.faults = [], {at: FAULTS[name]}
        try:
            withdraw_tag(fake.client(), REPOSITORY, "v1", layout.digest, "why", tmp_path)
        except Undecided:
            held = fake.tag("v1")
            assert held and (held == image or read_withdrawal(Manifest(held, OCI_INDEX)))
        else:
            assert read_withdrawal(Manifest(fake.tag("v1") or b"", OCI_INDEX)) or len(fake.requests) >= at
        if len(fake.requests) < at:
            return
    pytest.fail("there is always one more request")


def test_a_new_tag_has_no_previous(layout: Layout, tmp_path: Path) -> None:
    assert publish(FakeRegistry(), layout, tmp_path).previous is None


def test_a_tag_that_is_right_is_left_alone(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    publish(fake, layout, tmp_path)
    fake.requests.clear()
    assert publish(fake, layout, tmp_path) == Promotion(f"{REPOSITORY}:v1", layout.digest, layout.digest, changed=False)
    assert fake.writes == []


def test_a_candidate_that_was_never_pushed_is_not_promoted(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    with pytest.raises(Undecided, match="push the candidate first"):
        promote(fake.client(), REPOSITORY, layout.digest, "v1", tmp_path)
    assert fake.writes == []


@pytest.mark.parametrize(("digest", "tag"), [("latest", "v1"), ("sha256:" + "0" * 64, "a/b"), ("sha256:12", "v1")])
def test_what_is_no_digest_or_no_tag_is_refused_before_any_request(digest: str, tag: str, tmp_path: Path) -> None:
    fake = FakeRegistry()
    with pytest.raises(ConfigError):
        promote(fake.client(), REPOSITORY, digest, tag, tmp_path)
    assert fake.requests == []


# --- a fault at every request


@pytest.mark.parametrize("from_then_on", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("old", [OLD, None], ids=["old-tag", "new-tag"])
@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_leaves_a_wrong_tag(
    name: str, old: bytes | None, from_then_on: bool, layout: Layout, tmp_path: Path
) -> None:
    new = manifest_bytes(layout)
    succeeded = 0
    for at in range(1, 100):
        fake = FakeRegistry()
        if old:
            fake.store(old, "v1")
        fake.faults, fake.from_then_on = {at: FAULTS[name]}, from_then_on
        try:
            publish(fake, layout, tmp_path)
        except Undecided as error:
            assert all(problem.place and problem.cause for problem in error.problems)
            assert "secret-state" not in str(error)
            right = fake.tag("v1") in (old, new)
            # A registry that goes on storing other bytes cannot be mended from outside; then the message says so.
            assert right or (from_then_on and "NOT TO BE TRUSTED" in str(error)), (at, fake.tag("v1"))
        else:
            succeeded += 1
            assert fake.tag("v1") == new, at
            assert fake.blobs == blobs_of(layout), at
            assert fake.manifests[layout.digest][0] == new, at
        if len(fake.requests) < at:  # past the last request: nothing was hit
            break
    else:
        pytest.fail("promotion never ended")
    assert at > 15
    if name in ("drop", "lose_reply", "fail") and not from_then_on:
        assert succeeded == at, "what passes is retried"


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("listed", [False, True], ids=["first", "second"])
def test_no_fault_leaves_a_wrong_list_of_attachments(name: str, listed: bool, tmp_path: Path) -> None:
    for at in range(1, 100):
        fake = FakeRegistry(referrers=False)
        if listed:
            attach_report(fake, tmp_path, b"first")
            fake.requests.clear()
        old = fake.tag(FALLBACK_TAG)
        fake.faults = {at: FAULTS[name]}
        digest, error = "", ""
        try:
            digest = attach_report(fake, tmp_path)
        except Undecided as raised:
            error = str(raised)
        after = fake.tag(FALLBACK_TAG)
        entries = [entry["digest"] for entry in json.loads(after)["manifests"]] if after else []
        assert error or (entries[-1:] == [digest] and len(entries) == 1 + listed), at
        assert after == old or len(entries) == 1 + listed, at
        if len(fake.requests) < at:
            return
    pytest.fail("attaching never ended")


# --- faults one by one


def spoil_tag_writes(fake: FakeRegistry, times: int) -> None:
    """The registry stores other bytes under the tag, that many times, and answers that all is well."""
    left = [times]

    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        if request.method == "PUT" and str(request.url).endswith("/manifests/v1") and left[0]:
            left[0] -= 1
            return wrong_bytes(fake, request)
        return None

    fake.gate = gate


def test_a_tag_that_reads_back_wrong_is_put_back(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    old = fake.store(OLD, "v1")
    spoil_tag_writes(fake, 1)
    with pytest.raises(DigestMismatch, match=f"the tag was put back to {old}"):
        publish(fake, layout, tmp_path)
    assert fake.tag("v1") == OLD


def test_a_tag_that_the_registry_only_says_it_moved_is_found_and_said(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    fake.store(OLD, "v1")
    push_candidate(fake.client(), REPOSITORY, layout)
    fake.gate = lambda request: reply(request, 201) if request.method == "PUT" else None
    with pytest.raises(Overtaken, match="it is as it was") as caught:
        promote(fake.client(), REPOSITORY, layout.digest, "v1", tmp_path)
    assert "whether tags move there" in caught.value.problems[0].next_step and fake.tag("v1") == OLD


def test_a_new_tag_that_reads_back_wrong_is_removed_and_its_manifest_kept(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    spoil_tag_writes(fake, 1)
    with pytest.raises(DigestMismatch, match="did not exist before and does not now"):
        publish(fake, layout, tmp_path)
    assert fake.tag("v1") is None
    assert fake.manifests[layout.digest][0] == manifest_bytes(layout)


def test_a_wrong_new_tag_on_a_registry_without_deletion_is_withdrawn(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry(deletes_tags=False)
    spoil_tag_writes(fake, 1)
    with pytest.raises(DigestMismatch, match=r"cannot delete one, so it is withdrawn"):
        publish(fake, layout, tmp_path)
    assert read_withdrawal(Manifest(fake.tag("v1") or b"", OCI_INDEX))
    assert publish(fake, layout, tmp_path).digest == layout.digest, "the next run ends well"


def test_a_wrong_new_tag_that_cannot_be_mended_is_said_plainly(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry(deletes_tags=False)
    spoil_tag_writes(fake, 9)
    with pytest.raises(DigestMismatch, match=r"(?s)NOT TO BE TRUSTED.*it did not exist"):
        publish(fake, layout, tmp_path)


def test_a_tag_that_is_right_though_it_could_not_be_read_at_first_stays(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    fake.store(OLD, "v1")
    failed: list[bool] = []

    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        written = any(write.endswith("/manifests/v1") for write in fake.writes)
        if request.method == "GET" and written and not failed:
            failed.append(True)
            return refuse(request, 403, "DENIED")
        return None

    fake.gate = gate
    assert publish(fake, layout, tmp_path).changed and failed
    assert [write for write in fake.writes if write.endswith("/v1")] == [f"PUT /v2/{REPOSITORY.path}/manifests/v1"]


def test_other_bytes_under_a_candidates_digest_are_sent_again(layout: Layout) -> None:
    fake = FakeRegistry()
    push_candidate(fake.client(), REPOSITORY, layout)
    fake.manifests[layout.digest] = b"{}", OCI_MANIFEST
    push_candidate(fake.client(), REPOSITORY, layout)
    assert fake.manifests[layout.digest][0] == manifest_bytes(layout)


def test_an_old_tag_that_cannot_be_put_back_is_said_plainly(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    old = fake.store(OLD, "v1")
    spoil_tag_writes(fake, 2)
    with pytest.raises(DigestMismatch, match=f"NOT TO BE TRUSTED.*it held {old}"):
        publish(fake, layout, tmp_path)


def test_a_tag_that_the_registry_does_not_let_move_is_not_touched_again(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    fake.store(OLD, "v1")
    fake.gate = lambda request: (
        refuse(request, 403, "DENIED") if request.method == "PUT" and str(request.url).endswith("/v1") else None
    )
    with pytest.raises(RegistryRefused, match="403 DENIED"):
        publish(fake, layout, tmp_path)
    assert [write for write in fake.writes if write.endswith("/v1")] == [f"PUT /v2/{REPOSITORY.path}/manifests/v1"]


def test_an_old_tag_that_could_not_be_put_back_is_not_moved(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    fake.manifests["v1"] = OLD, OCI_MANIFEST  # under the tag only: these bytes have no digest there
    with pytest.raises(DigestMismatch, match="no manifest of that digest"):
        publish(fake, layout, tmp_path)
    assert fake.tag("v1") == OLD


def test_a_candidate_whose_bytes_changed_in_the_registry_is_not_promoted(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    fake.store(OLD, "v1")
    push_candidate(fake.client(), REPOSITORY, layout)
    fake.manifests[layout.digest] = manifest_bytes(layout) + b"\n", OCI_MANIFEST
    with pytest.raises(DigestMismatch, match="other bytes under this digest"):
        promote(fake.client(), REPOSITORY, layout.digest, "v1", tmp_path)
    assert fake.tag("v1") == OLD


@pytest.mark.parametrize("poison", [b"", b"CANDIDATE ONE"], ids=["empty", "same-size"])
def test_a_poisoned_blob_from_an_earlier_push_is_found(poison: bytes, layout: Layout) -> None:
    fake = FakeRegistry()
    digest = layout.layers[0].digest
    assert len(layout.blob_path(digest).read_bytes()) == len(b"CANDIDATE ONE")
    fake.blobs[digest] = poison
    # Like a registry that keeps what it has under a digest, whatever is sent.
    fake.gate = lambda request: fake.answer(request, lambda data: poison) if digest in digest_sent(request) else None
    with pytest.raises(DigestMismatch, match=digest):
        push_candidate(fake.client(), REPOSITORY, layout)
    assert fake.manifests == {}


def digest_sent(request: requests.PreparedRequest) -> str:
    return str(request.url).replace("%3A", ":") if request.method == "PUT" else ""


def test_a_blob_that_is_cut_short_on_the_way_in_is_found(layout: Layout) -> None:
    fake = FakeRegistry()
    fake.gate = lambda request: cut_short(fake, request) if "/upload/" in str(request.url) else None
    with pytest.raises(DigestMismatch):
        push_candidate(fake.client(), REPOSITORY, layout)
    assert fake.manifests == {}


# --- attachments


def test_an_attachment_names_its_subject(tmp_path: Path) -> None:
    fake = FakeRegistry()
    digest = attach_report(fake, tmp_path)
    assert json.loads(fake.manifests[digest][0]) == {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.x",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/json", "digest": digest_of(b"report"), "size": 6}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": SUBJECT.digest, "size": 1234},
    }
    assert fake.blobs == {digest_of(b"{}"): b"{}", digest_of(b"report"): b"report"}


def test_a_registry_with_the_referrers_api_needs_no_list(tmp_path: Path) -> None:
    fake = FakeRegistry(referrers=True)
    attach_report(fake, tmp_path)
    assert fake.tag(FALLBACK_TAG) is None


def test_without_the_referrers_api_a_tag_lists_every_attachment_once(tmp_path: Path) -> None:
    fake = FakeRegistry(referrers=False)
    first = attach_report(fake, tmp_path, b"first")
    second = attach_report(fake, tmp_path, b"second")
    assert attach_report(fake, tmp_path, b"first") == first
    data, media_type = fake.manifests[FALLBACK_TAG]
    assert media_type == OCI_INDEX
    assert [(entry["digest"], entry["artifactType"]) for entry in json.loads(data)["manifests"]] == [
        (first, "application/vnd.x"),
        (second, "application/vnd.x"),
    ]
    assert [entry["size"] for entry in json.loads(data)["manifests"]] == [
        len(fake.manifests[first][0]),
        len(fake.manifests[second][0]),
    ]


@pytest.mark.parametrize("held", [b"not json", b"[]", b'{"layers": []}', b'{"manifests": [{}]}'])
def test_a_list_that_is_none_is_left_alone(held: bytes, tmp_path: Path) -> None:
    fake = FakeRegistry(referrers=False)
    fake.store(held, FALLBACK_TAG)
    with pytest.raises(Undecided, match="is no index"):
        attach_report(fake, tmp_path)
    assert fake.tag(FALLBACK_TAG) == held


# --- the lock


def watch_lock(fake: FakeRegistry, folder: Path) -> list[bool]:
    """For every request from now on: whether a lock in the folder was held when it came in."""
    held: list[bool] = []

    def gate(request: requests.PreparedRequest) -> None:
        for path in folder.glob("*.lock"):
            with path.open() as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    held.append(False)
                except BlockingIOError:
                    held.append(True)

    fake.gate = gate
    return held


def test_the_lock_is_held_while_the_tag_moves(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    digest = push_candidate(fake.client(), REPOSITORY, layout)
    held = watch_lock(fake, tmp_path / "locks")
    promote(fake.client(), REPOSITORY, digest, "v1", tmp_path / "locks")
    assert held == [True] * 4
    fake.client().ping(REPOSITORY)
    assert held[-1] is False


def test_the_lock_is_held_while_a_list_of_attachments_is_read_and_written(tmp_path: Path) -> None:
    fake = FakeRegistry(referrers=False)
    held = watch_lock(fake, tmp_path / "locks")
    attach_report(fake, tmp_path / "locks")
    assert held == [True] * 3


def test_the_lock_is_let_go_after_a_failure(layout: Layout, tmp_path: Path) -> None:
    fake = FakeRegistry()
    fake.faults, fake.from_then_on = {1: drop}, True
    for _ in range(2):
        with pytest.raises(Undecided, match="could not be reached"):
            promote(fake.client(), REPOSITORY, layout.digest, "v1", tmp_path)


def test_another_holder_is_waited_for_and_then_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert move_module.PATIENCE_S >= 60, "whoever else promotes is given time to end"
    monkeypatch.setattr(move_module, "PATIENCE_S", 0.05)
    with (
        hold_tag(tmp_path, "host/a:v1"),
        hold_tag(tmp_path, "host/a:v2"),
        pytest.raises(Undecided, match="another promotion of host/a:v1 has not ended"),
        hold_tag(tmp_path, "host/a:v1"),
    ):
        pytest.fail("two holders of one lock")


def test_a_lock_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Undecided, match="cannot be locked") as caught, hold_tag(tmp_path / "file/locks", "host/a:v1"):
        pytest.fail("no lock was taken")
    assert caught.value.problems[0].next_step == "make the folder writable for whoever promotes"


# --- what a promotion moves

MOST = 200_000  # bytes, both ways, for all tags


class CountingRegistry(FakeRegistry):
    """A registry that counts the bytes which it is sent and which it sends."""

    moved = 0

    def send(self, request: requests.PreparedRequest, *rest: Any, **options: Any) -> requests.Response:
        response = super().send(request, *rest, **options)
        raw: Any = response.raw
        body = raw.getbuffer()
        self.moved += len(request.body or b"") + len(body)
        self.moved += sum(
            len(f"{key}: {value}\r\n") for each in (request, response) for key, value in each.headers.items()
        )
        return response


@pytest.mark.parametrize("size", [1_000, 1_000_000_000_000])
def test_a_promotion_moves_no_layer_however_large_and_however_many(size: int, tmp_path: Path) -> None:
    fake = CountingRegistry()
    layers = [Descriptor(digest_of(b"%d" % number), size, f"{OCI_MANIFEST}+layer").to_json() for number in range(100)]
    digest = fake.store(json.dumps({"schemaVersion": 2, "config": SUBJECT.to_json(), "layers": layers}).encode())
    for tag in ("1.0-cpu-abcdef012345", "1.0-cpu", "cpu"):
        fake.store(OLD, tag)
        assert promote(fake.client(), REPOSITORY, digest, tag, tmp_path).changed
    assert fake.moved < MOST
    assert not [request for request in fake.requests if "/blobs/" in str(request.url)]
