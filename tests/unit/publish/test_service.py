"""A tag out of service: it names no image, says why, and nothing is put under it until it is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.oci.layout import Layout
from scripts.publish.promote import promote, push_candidate
from scripts.publish.service import retire_tag, return_tag
from scripts.registry.client import Manifest
from scripts.registry.withdrawn import Withdrawal, make_withdrawal, read_withdrawal
from tests.unit.registry.fake_registry import REPOSITORY, FakeRegistry, fail, make_layout

TAG = "1.0-cpu"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "layout", "candidate")


@pytest.fixture
def fake(layout: Layout, tmp_path: Path) -> FakeRegistry:
    """A registry with one tag on one image."""
    made = FakeRegistry(deletes_tags=False)
    push_candidate(made.client(), REPOSITORY, layout)
    promote(made.client(), REPOSITORY, layout.digest, TAG, tmp_path)
    return made


def said(fake: FakeRegistry) -> Withdrawal | None:
    data, media_type = fake.manifests[TAG]
    return read_withdrawal(Manifest(data, media_type))


def test_a_retired_tag_says_why_and_takes_nothing_until_it_is_back(
    fake: FakeRegistry, layout: Layout, tmp_path: Path
) -> None:
    client = fake.client()
    assert retire_tag(client, REPOSITORY, TAG, "a newer line is there", tmp_path) == layout.digest
    found = said(fake)
    assert found and (found.digest, found.reason, found.retired) == (
        layout.digest,
        "retired: a newer line is there",
        True,
    )
    retired = fake.tag(TAG)
    with pytest.raises(ConfigError, match="a newer line is there") as caught:
        promote(client, REPOSITORY, layout.digest, TAG, tmp_path)
    assert "--undo" in caught.value.problems[0].next_step and fake.tag(TAG) == retired
    assert return_tag(client, REPOSITORY, TAG, tmp_path) == layout.digest
    found = said(fake)
    assert found and not found.retired, "it names no image until something is published"
    assert promote(client, REPOSITORY, layout.digest, TAG, tmp_path).changed
    assert return_tag(client, REPOSITORY, TAG, tmp_path) == "", "an image is left alone"


def test_retiring_twice_for_one_reason_writes_once(fake: FakeRegistry, tmp_path: Path) -> None:
    retire_tag(fake.client(), REPOSITORY, TAG, "old", tmp_path)
    fake.requests.clear()
    retire_tag(fake.client(), REPOSITORY, TAG, "old", tmp_path)
    assert fake.writes == []


def test_a_tag_that_was_withdrawn_is_retired_all_the_same(fake: FakeRegistry, layout: Layout, tmp_path: Path) -> None:
    fake.store(make_withdrawal(layout.digest, "rejected: it crashed").data, TAG)
    assert retire_tag(fake.client(), REPOSITORY, TAG, "old", tmp_path) == layout.digest
    found = said(fake)
    assert found and found.retired and found.digest == layout.digest


def test_a_tag_that_is_not_there_is_not_made(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.requests.clear()
    assert retire_tag(fake.client(), REPOSITORY, "2.0-cpu", "old", tmp_path) == ""
    assert return_tag(fake.client(), REPOSITORY, "2.0-cpu", tmp_path) == ""
    assert fake.writes == []


def test_a_registry_that_fails_leaves_the_tag_as_it_was(fake: FakeRegistry, tmp_path: Path) -> None:
    before = fake.tag(TAG)
    fake.faults, fake.from_then_on = {len(fake.requests) + 1: fail}, True
    with pytest.raises(Undecided):
        retire_tag(fake.client(), REPOSITORY, TAG, "old", tmp_path)
    assert fake.tag(TAG) == before
