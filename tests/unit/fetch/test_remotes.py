from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import Undecided
from scripts.fetch import Remotes
from scripts.fetch.git import Missing, Repository
from scripts.fetch.remotes import list_places
from scripts.site import Site

COMMIT = "c" * 40
URL = "https://one.invalid/group/lib.git"
OTHER = "https://one.invalid/group/other"
LOST = "unable to access 'https://one.invalid/': Could not resolve host: one.invalid"


class Places:
    """Stands in for git. `answers` say by place what a fetch ends with: commits that are then here, or a fault."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.answers: dict[str, Callable[[Sequence[str]], str]] = {}
        self.asked: list[tuple[str, str]] = []  # place, and what was asked for
        self.tags = ""

    def has_tree(self, commit: str) -> bool:
        return commit in self.here

    def fetch(self, place: str, refspecs: Sequence[str], update: Any, *options: str) -> None:
        what = "the commit" if list(refspecs) == [COMMIT] and options == ("--depth", "1") else "all names"
        self.asked.append((place, what))
        answer = self.answers.get(place)
        if fault := answer(refspecs) if answer else LOST:
            raise Missing(fault)

    def run(self, *arguments: str) -> bytes:
        assert arguments[:3] == ("ls-remote", "--", URL)
        if not self.tags:
            raise Missing(LOST)
        return self.tags.encode()


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Places:
    found = Places()
    monkeypatch.setattr(Repository, "open", lambda folder: found)
    return found


def make(tmp_path: Path, **fields: Any) -> Remotes:
    values: dict[str, Any] = {"engine": "auto", "registry": "", "mirrors": (), "wheels": (), "cache": tmp_path}
    return Remotes(Site(**values | fields))


def bring(found: Remotes, url: str = URL) -> None:
    found.bring(url, COMMIT, "lib", lambda text: None)


def test_a_repository_is_at_its_address_on_mirrors_and_in_folders(tmp_path: Path) -> None:
    for name in ("lib.git", "lib", f"lib-{COMMIT}.bundle", "lib-other.bundle", "other"):
        (tmp_path / name).mkdir()
    site = make(tmp_path, mirrors=("https://m.invalid/git",), wheels=(tmp_path,)).site
    local = [str(tmp_path / name) for name in ("lib.git", "lib", f"lib-{COMMIT}.bundle")]
    assert list_places(URL, COMMIT, site) == [URL, "https://m.invalid/git/lib.git", *local]
    assert list_places("https://one.invalid/lib/", COMMIT, site)[1] == "https://m.invalid/git/lib.git"


def test_what_is_here_is_asked_of_nobody(places: Places, tmp_path: Path) -> None:
    places.here.add(COMMIT)
    bring(make(tmp_path))
    assert places.asked == []


def test_where_a_server_gives_single_commits_one_is_all_that_is_asked_for(places: Places, tmp_path: Path) -> None:
    def answer(refspecs: Sequence[str]) -> str:
        places.here.add(COMMIT)
        return ""

    places.answers[URL] = answer
    bring(make(tmp_path))
    assert places.asked == [(URL, "the commit")]


def test_where_it_does_not_all_that_has_a_name_is(places: Places, tmp_path: Path) -> None:
    def answer(refspecs: Sequence[str]) -> str:
        if list(refspecs) == [COMMIT]:
            return "Server does not allow request for unadvertised object"
        places.here.add(COMMIT)
        return ""

    places.answers[URL] = answer
    bring(make(tmp_path))
    assert places.asked == [(URL, "the commit"), (URL, "all names")]


def test_a_server_that_has_not_got_it_is_not_asked_for_everything(places: Places, tmp_path: Path) -> None:
    places.answers[URL] = lambda _: f"remote error: upload-pack: not our ref {COMMIT}"
    with pytest.raises(Undecided, match=rf"commit {COMMIT} could not be fetched; tried:\n    \S+: .*not our ref"):
        bring(make(tmp_path))
    assert places.asked == [(URL, "the commit")]


def test_a_part_of_a_tree_is_not_enough(places: Places, tmp_path: Path) -> None:
    places.answers[URL] = lambda _: ""
    with pytest.raises(Undecided, match="has no such commit, or only a part of it"):
        bring(make(tmp_path))


def test_a_host_that_cannot_be_reached_is_asked_once(places: Places, tmp_path: Path) -> None:
    found = make(tmp_path, mirrors=("https://m.invalid",))
    places.answers["https://m.invalid/lib.git"] = lambda _: "repository not found"
    with pytest.raises(Undecided) as caught:
        bring(found)
    [problem] = caught.value.problems
    assert problem.details == (f"{URL}: {LOST}", "https://m.invalid/lib.git: repository not found")
    assert "lib.git on a mirror in HALLMARK_MIRRORS" in problem.next_step
    places.asked.clear()
    with pytest.raises(Undecided, match="Could not resolve host"):
        bring(found, OTHER)
    assert [place for place, _ in places.asked] == ["https://m.invalid/other.git"], "it was not there for `lib`"


def test_a_tag_means_the_commit_below_it(places: Places, tmp_path: Path) -> None:
    places.tags = f"{'1' * 40}\trefs/tags/v1\n{'2' * 40}\trefs/tags/v1^{{}}\n"
    assert make(tmp_path).find_tag(URL, "v1") == "2" * 40
    places.tags = f"{'1' * 40}\trefs/tags/v1\n"
    assert make(tmp_path).find_tag(URL, "v1") == "1" * 40
    places.tags = f"{'1' * 40}\trefs/heads/refs/tags/v1\n"  # git matches names at their end
    assert make(tmp_path).find_tag(URL, "v1") == ""


def test_a_tag_of_a_repository_that_does_not_answer_is_unknown(places: Places, tmp_path: Path) -> None:
    with pytest.raises(Undecided, match="Could not resolve host"):
        make(tmp_path).find_tag(URL, "v1")
