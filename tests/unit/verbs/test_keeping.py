"""The verbs `retire` and `gc`: what they ask of whom, what they refuse, and that nothing goes without being told to."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from scripts.command import main
from scripts.errors import ExitCode
from scripts.feed import RETIRED, Entry, append_entry, read_feed
from scripts.model import Verdict
from scripts.verbs import keeping
from scripts.workspace import Workspace
from tests.unit.builders import write_locked_project
from tests.unit.registry.fake_registry import FakeRegistry, make_layout, refuse

NAME = "registry.example.com/team"
OLD = Entry("serve-cpu", "b" * 64, "", Verdict.REJECTED, ("no",), "", "", "2024-01-01T00:00:00Z", 1, 2, "0.1.0")


class Site:
    """A project, its registry, and its feed."""

    def __init__(self, root: Path, fake: FakeRegistry) -> None:
        self.root, self.fake, self.feed = root, fake, Workspace(root).feed

    def run(self, *arguments: str) -> int:
        return main(["--project", str(self.root), *arguments])

    def say(self, *entries: Entry, feed: Path | None = None) -> None:
        for entry in entries:
            append_entry(feed or self.feed, entry, self.root / "lock")

    def push(self, name: str) -> str:
        """An image that has no tag."""
        layout = make_layout(self.root / "made" / name, name)
        return self.fake.store(layout.blob_path(layout.digest).read_bytes())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    write_locked_project(tmp_path)
    fake = FakeRegistry()
    other = "/team/train/"  # the project's other image, of which nothing was pushed
    fake.gate = lambda request: refuse(request, 404, "NAME_UNKNOWN") if other in str(request.url) else None
    fake.path, fake.date = "team/serve", formatdate(time.time(), usegmt=True)
    monkeypatch.setenv("HALLMARK_REGISTRY", NAME)
    monkeypatch.setattr(keeping, "Registry", fake.client)
    monkeypatch.setattr(keeping, "find_running", lambda project: None)
    return Site(tmp_path, fake)


# --- retire


def test_a_cell_is_retired_and_put_back_and_its_history_says_why(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = site.push("one")
    site.fake.store(site.fake.manifests[digest][0], "1.2.0-cpu")
    assert site.run("retire", "serve-cpu", "--reason", "a newer line is there") == ExitCode.ACCEPTED
    assert "serve-cpu is retired" in capsys.readouterr().err
    assert site.fake.tag("1.2.0-cpu") != site.fake.tag(digest)
    site.run("history", "serve-cpu")
    shown = capsys.readouterr().out
    assert RETIRED in shown and "serve-cpu: a newer line is there" in shown
    assert site.run("verdict", "serve-cpu") == ExitCode.INCONCLUSIVE
    assert "inconclusive, retired" in capsys.readouterr().out
    assert site.run("retire", "serve-cpu", "--undo", "--reason", "asked for") == ExitCode.ACCEPTED
    assert "in service again" in capsys.readouterr().err
    assert [entry.said for entry in read_feed(site.feed)[0]] == [RETIRED, "in service again"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve-*", "--reason", "old"], "one cell at a time"),
        (["serve-gpu", "--reason", "old"], "no cell matches"),
        (["serve-cpu", "--reason", " "], "a reason is what people read"),
        (["serve-cpu", "--undo", "--reason", "asked for"], "not retired"),
    ],
)
def test_what_is_not_one_cell_with_a_reason_is_refused(
    site: Site, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert site.run("retire", *arguments) == ExitCode.USAGE
    assert said in capsys.readouterr().err and site.fake.writes == [] and not site.feed.exists()


def test_a_cell_is_not_retired_without_a_reason(site: Site) -> None:
    with pytest.raises(SystemExit) as caught:
        site.run("retire", "serve-cpu")
    assert caught.value.code == ExitCode.USAGE


# --- gc


def test_what_may_go_is_shown_and_goes_only_when_that_is_asked(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three = (site.push(name) for name in ("one", "two", "three"))
    site.say(replace(OLD, digest=one), replace(OLD, digest=two, cell="serve-gone"))
    site.say(replace(OLD, digest=three, verdict=Verdict.ACCEPTED))
    assert site.run("gc") == ExitCode.ACCEPTED
    shown = capsys.readouterr()
    assert one in shown.out and two in shown.out and three not in shown.out
    assert "1 stay: accepted once" in shown.err and "nothing was deleted" in shown.err and site.fake.writes == []
    assert site.run("gc", "--delete") == ExitCode.ACCEPTED
    assert set(site.fake.manifests) == {three}
    assert site.run("gc", "--delete") == ExitCode.ACCEPTED
    assert "0 candidates may go" in capsys.readouterr().err


def test_another_checkouts_feed_keeps_what_it_names(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    one, now = site.push("one"), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    site.say(replace(OLD, digest=one))
    other = site.root / "other.jsonl"
    site.say(replace(OLD, digest=one, finished=now), feed=other)
    assert site.run("gc", "--delete", "--feed", str(other)) == ExitCode.ACCEPTED
    assert set(site.fake.manifests) == {one} and "1 stay: named in the feed" in capsys.readouterr().err


def test_without_a_feed_nothing_is_known_to_be_there(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.push("one")
    assert site.run("gc", "--delete") == ExitCode.ACCEPTED
    assert "0 candidates may go" in capsys.readouterr().err and site.fake.requests == []


def test_a_line_that_cannot_be_read_leaves_everything(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.say(replace(OLD, digest=site.push("one")))
    with site.feed.open("a") as stream:
        stream.write('{"version": 2}\n')
    assert site.run("gc", "--delete") == ExitCode.INCONCLUSIVE
    assert "1 lines cannot be read" in capsys.readouterr().err and site.fake.requests == []


def test_an_owners_run_that_cannot_be_read_leaves_everything(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.say(replace(OLD, digest=site.push("one")))
    path = site.root / "docs/evidence/owners/serve-cpu/someone.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert site.run("gc", "--delete") == ExitCode.INCONCLUSIVE
    assert "someone.json" in capsys.readouterr().err and site.fake.requests == []


def test_a_clock_that_is_wrong_leaves_everything(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.say(replace(OLD, digest=site.push("one")))
    site.fake.date = formatdate(time.time() - 3 * 86400, usegmt=True)
    assert site.run("gc", "--delete") == ExitCode.INCONCLUSIVE
    assert "days apart" in capsys.readouterr().err and site.fake.writes == []


def test_a_registry_that_deletes_nothing_says_so(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.say(replace(OLD, digest=site.push("one")))
    site.fake.deletes_tags = False
    assert site.run("gc", "--delete") == ExitCode.INCONCLUSIVE
    assert "the registry deletes nothing" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "said"), [([], "no registry"), (["--feed", "nowhere"], "no such feed")])
def test_gc_says_what_it_lacks(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    if not arguments:
        monkeypatch.delenv("HALLMARK_REGISTRY")
    assert site.run("gc", *arguments) == ExitCode.USAGE
    assert said in capsys.readouterr().err
