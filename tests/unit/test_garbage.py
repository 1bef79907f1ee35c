"""What a registry may lose: what somebody may still need stays, and where that is not known nothing goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.attest.envelope import ENVELOPE_TYPE, PAYLOAD_TYPE
from scripts.errors import Undecided
from scripts.feed import Entry
from scripts.garbage import Garbage, check_clock, delete, find_garbage
from scripts.model import Verdict
from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from scripts.oci.layout import Layout
from scripts.publish.promote import promote, push_candidate
from tests.unit.registry.attached import attach_one
from tests.unit.registry.fake_registry import REPOSITORY, FakeRegistry, make_layout, refuse, reply

CELL, BUILD = "serve-cpu", "b" * 64
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
DAY = 86400.0


def when(days: float) -> str:
    """So many days ago, as the feed writes it."""
    return datetime.fromtimestamp(NOW - days * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(digest: str, days: float = 400, verdict: Verdict = Verdict.REJECTED, **fields: Any) -> Entry:
    entry = Entry(CELL, BUILD, digest, verdict, ("it crashed",), "", "", when(days), 1, 2, "0.1.0")
    return replace(entry, **fields)


class Site:
    """A registry with two candidates that share no layer, the second of which has its evidence attached."""

    def __init__(self, folder: Path, *, referrers: bool) -> None:
        self.folder = folder
        self.fake = FakeRegistry(referrers=referrers)
        self.fake.date = format_datetime(datetime.fromtimestamp(NOW, UTC), usegmt=True)
        self.one, self.two = (self.push(name) for name in ("one", "two"))
        for payload in (b"{}", b"[]"):
            self.attach(self.two, payload)
        self.entries = [line(self.one.digest), line(self.two.digest, 500, Verdict.INCONCLUSIVE)]

    def push(self, name: str) -> Layout:
        layout = make_layout(self.folder / name, name)
        push_candidate(self.fake.client(), REPOSITORY, layout)
        return layout

    def attach(self, to: Layout, payload: bytes, kind: str = PAYLOAD_TYPE) -> str:
        return attach_one(self.fake.client(), REPOSITORY, to.manifest, kind, payload, ENVELOPE_TYPE, self.folder)

    def tag(self, layout: Layout, name: str) -> None:
        promote(self.fake.client(), REPOSITORY, layout.digest, name, self.folder)

    def store_index(self, *digests: str, name: str = "") -> str:
        listed = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 1} for digest in digests]
        data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
        return self.fake.store(data, *([name] if name else []), media_type=OCI_INDEX)

    def look(self, *builds: str, cells: Callable[[str], bool] = lambda _: True) -> Garbage:
        """What is found; the registry is only read."""
        before = len(self.fake.writes)
        found = find_garbage(self.fake.client(), REPOSITORY, self.entries, cells, builds, NOW)
        assert len(self.fake.writes) == before
        return found

    def going(self, *builds: str) -> set[str]:
        return {leftover.digest for leftover in self.look(*builds).leftovers}

    def clean(self) -> None:
        for leftover in self.look().leftovers:
            delete(self.fake.client(), REPOSITORY, leftover)


def images(site: Site) -> set[str]:
    """All that is there but earlier lists of what is attached, which no tag has any more and nobody knows of."""
    return {name for name, (_, kind) in site.fake.manifests.items() if kind != OCI_INDEX or ":" not in name}


@pytest.fixture(params=[True, False], ids=["referrers", "fallback tag"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(tmp_path, referrers=request.param)


def test_what_was_never_accepted_goes_with_what_is_attached_to_it(site: Site) -> None:
    stranger = site.push("stranger").digest
    one, two = site.look().leftovers
    assert (one.digest, one.attached, one.index) == (site.one.digest, (), "")
    assert (two.digest, len(two.attached), bool(two.index)) == (site.two.digest, 2, not site.fake.referrers)
    manifest = len(site.fake.manifests[site.one.digest][0])
    assert one.size == manifest + sum(blob.size for blob in (site.one.config, *site.one.layers))
    site.clean()
    assert images(site) == {stranger}, "nobody can say of it what it is"


def test_bytes_that_something_else_needs_are_not_counted(site: Site) -> None:
    """Two candidates of the same layers: what both need is freed once, and not at all where one stays."""
    content = json.loads(site.fake.manifests[site.one.digest][0])
    twin = json.dumps(content).encode()
    site.entries = [line(site.one.digest), line(site.fake.store(twin))]
    first, second = site.look().leftovers
    assert second.size == len(twin) < first.size
    site.fake.store(twin, "kept")
    [left] = site.look().leftovers
    assert left.size == site.one.manifest.size


@pytest.mark.parametrize("tag", ["1.0-cpu-abcdef012345", "1.0-cpu", "cpu"])
def test_what_a_tag_names_stays(tag: str, site: Site) -> None:
    site.tag(site.two, tag)
    assert site.going() == {site.one.digest}
    assert site.look().kept == {"a tag needs it, or an index that has one": 1}


@pytest.mark.parametrize("depth", [1, 4])
def test_what_an_index_under_a_tag_names_stays(site: Site, depth: int) -> None:
    digest = site.two.digest
    for _ in range(depth - 1):
        digest = site.store_index(digest)
    site.store_index(digest, name="many")
    assert site.going() == {site.one.digest}


def test_indexes_deeper_than_anybody_follows_leave_everything(site: Site) -> None:
    digest = site.two.digest
    for _ in range(5):
        digest = site.store_index(digest)
    site.store_index(digest, name="many")
    with pytest.raises(Undecided, match="indexes within each other"):
        site.look()


def test_an_artifact_that_has_a_tag_keeps_what_it_is_attached_to(site: Site) -> None:
    content = {"artifactType": PAYLOAD_TYPE, "subject": {"digest": site.one.digest}}
    site.fake.store(json.dumps(content).encode(), "report")  # without a referrers API no list has it
    assert site.going() == {site.two.digest}


def test_the_list_of_what_is_attached_keeps_what_it_lists_where_it_stays(site: Site) -> None:
    """A list under the tag of a digest that stays: what it names stays as well, whatever it is."""
    site.store_index(site.one.digest, name="sha256-" + "9" * 64)
    assert site.going() == {site.two.digest}
    site.store_index(site.one.digest, name=site.two.digest.replace(":", "-"))
    assert site.going() == set()


def test_what_the_feed_names_of_the_last_twelve_months_stays(site: Site) -> None:
    for days, stays in ((365.9, True), (366.1, False), (1, True)):
        again = line(site.one.digest, days, cell="another-cell")
        site.entries = [line(site.one.digest), again]
        assert (site.going() == set()) is stays
    site.entries = [line(site.one.digest), line(site.one.digest, 10, service="retired")]
    assert site.going() == set()


def test_what_was_accepted_once_stays_for_good(site: Site) -> None:
    accepted = line(site.one.digest, 900, Verdict.ACCEPTED, cell="another-cell", by="an owner")
    site.entries = [accepted, line(site.one.digest, 800)]
    assert site.going() == set()
    assert site.look().kept == {"accepted once, which is promised for good": 1}


def test_what_this_checkout_builds_stays(site: Site) -> None:
    assert site.going(BUILD) == set()
    assert site.going("c" * 64) == {site.one.digest, site.two.digest}


def test_what_is_of_another_image_is_not_looked_for(site: Site) -> None:
    assert site.look(cells=lambda cell: cell != CELL).leftovers == []


@pytest.mark.parametrize("kind", ["application/vnd.example.report", PAYLOAD_TYPE])
def test_what_somebody_else_has_attached_something_to_stays(site: Site, kind: str) -> None:
    if kind == PAYLOAD_TYPE:
        site.fake.store(b'{"layers": []}', site.one.digest.replace(":", "-") + ".sig")
    else:
        site.attach(site.one, b"theirs", kind)
    assert site.going() == {site.two.digest}
    assert site.look().kept == {"somebody else has attached something to it": 1}


def test_a_run_that_was_interrupted_goes_on(site: Site) -> None:
    before = set(site.fake.manifests)
    [two] = [each for each in site.look().leftovers if each.digest == site.two.digest]
    allowed = iter([True])

    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        ended = request.method == "DELETE" and not next(allowed, False)
        return refuse(request, 405, "UNSUPPORTED") if ended else None

    site.fake.gate = gate
    with pytest.raises(Undecided, match="deletes nothing"):
        delete(site.fake.client(), REPOSITORY, two)
    assert len(before - set(site.fake.manifests)) == 1 and site.two.digest in site.fake.manifests
    site.fake.gate = lambda request: None
    site.clean()
    assert images(site) == set()


def test_a_registry_that_deletes_nothing_says_what_to_do(site: Site) -> None:
    site.fake.deletes_tags = False
    before = dict(site.fake.manifests)
    with pytest.raises(Undecided, match="the registry deletes nothing") as caught:
        site.clean()
    assert "storage.delete.enabled" in caught.value.problems[0].next_step and site.fake.manifests == before


@pytest.mark.parametrize("finished", ["yesterday", "2024-11-29 05:00:00", ""])
def test_a_line_without_a_time_leaves_everything(site: Site, finished: str) -> None:
    site.entries = [line(site.one.digest, finished=finished)]
    with pytest.raises(Undecided, match="where a time belongs"):
        site.look()


@pytest.mark.parametrize("data", [b"<html>", b'{"manifests": [{"digest": "latest"}]}', b'{"manifests": ["x"]}'])
def test_a_tag_that_cannot_be_read_leaves_everything(site: Site, data: bytes) -> None:
    site.fake.store(data, "odd", media_type=OCI_INDEX)
    with pytest.raises(Undecided, match="cannot be read"):
        site.look()


def test_a_list_of_tags_that_is_none_leaves_everything(site: Site) -> None:
    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        return reply(request, 200, b'{"tags": "all"}') if "/tags/" in str(request.url) else None

    site.fake.gate = gate
    with pytest.raises(Undecided, match="list of tags"):
        site.look()


@pytest.mark.parametrize(
    ("date", "entry", "cause"),
    [
        ("", None, "does not say what time it is"),
        ("some day", None, "does not say what time it is"),
        (when(-2), None, "days apart"),
        (when(400), None, "days apart"),
        (when(0), line("", -2), "which is to come"),
    ],
)
def test_a_clock_that_may_be_wrong_leaves_everything(site: Site, date: str, entry: Entry | None, cause: str) -> None:
    if date.endswith("Z"):
        date = format_datetime(datetime.fromisoformat(date), usegmt=True)
    site.fake.date = date
    with pytest.raises(Undecided, match=cause):
        check_clock(site.fake.client(), REPOSITORY, [*site.entries, *([entry] if entry else [])], NOW)


def test_clocks_that_agree_will_do(site: Site) -> None:
    check_clock(site.fake.client(), REPOSITORY, site.entries, NOW)
    check_clock(site.fake.client(), REPOSITORY, site.entries, NOW + DAY / 2)
