from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.fetch import Remotes
from scripts.lock.trees import TreeLock, lock_tree
from scripts.matrix import Source
from scripts.model import LockedTree

ONE, TWO = "1" * 40, "2" * 40
URL = "https://example.com/lib"
PINNED = Source("lib", repository=URL, pin="deps.cmake", submodules=("a",))


class Tags:
    """What a repository calls its commits; None: it does not answer."""

    def __init__(self, tags: dict[str, str] | None) -> None:
        self.tags = tags
        self.asked = 0

    def find_tag(self, url: str, tag: str) -> str:
        assert url == URL
        self.asked += 1
        if self.tags is None:
            raise Undecided("no such host")
        return self.tags.get(tag, "")


def lock(source: Source, pinned: set[str] | None, tags: dict[str, str] | None = None) -> TreeLock:
    return lock_tree(source, pinned, cast(Remotes, Tags(tags)), "a.toml")


def tree(commit: str, tag: str = "") -> LockedTree:
    return LockedTree("lib", URL, commit, tag, ("a",))


@pytest.mark.parametrize(
    ("written", "pinned", "tags", "found"),
    [
        ({}, {ONE}, None, tree(ONE)),
        ({"commit": ONE}, {ONE}, None, tree(ONE)),
        ({"commit": ONE}, {ONE, TWO}, None, tree(ONE)),
        ({"commit": ONE, "pin": ""}, None, None, tree(ONE)),
        ({"commit": ONE}, None, None, tree(ONE)),
        ({}, {"v1"}, {"v1": ONE}, tree(ONE, "v1")),
        ({"tag": "v1"}, {"v1", TWO}, {"v1": ONE}, tree(ONE, "v1")),
        ({"tag": "v1", "commit": ONE}, {"v1"}, {"v1": ONE}, tree(ONE, "v1")),
        ({"tag": "v1", "commit": ONE}, {ONE}, {"v1": ONE}, tree(ONE, "v1")),
    ],
)
def test_what_is_pinned_and_what_is_written_give_one_commit(
    written: dict[str, Any], pinned: set[str] | None, tags: dict[str, str] | None, found: LockedTree
) -> None:
    assert lock(replace(PINNED, **written), pinned, tags) == TreeLock(found)


@pytest.mark.parametrize(
    ("written", "pinned", "tags", "error", "cause"),
    [
        ({"commit": ONE}, {TWO}, {}, ConfigError, rf"lib: {ONE} is written, and deps\.cmake pins {TWO}"),
        ({"tag": "v1", "commit": ONE}, {"v2"}, {}, ConfigError, r"lib: v1 is written, and deps\.cmake pins v2"),
        ({"commit": ONE}, set(), {}, ConfigError, r"deps\.cmake pins nothing"),
        ({}, set(), {}, ConfigError, rf"lib: deps\.cmake pins nothing of {URL}"),
        ({}, {ONE, TWO}, {}, ConfigError, rf"lib: deps\.cmake pins {ONE} or {TWO} of {URL}"),
        (
            {},
            None,
            {},
            Undecided,
            r"lib: the file deps\.cmake, which pins it, is not to be had\n  next: write `commit`",
        ),
        ({"tag": "v1", "commit": ONE}, {"v1"}, {"v1": TWO}, ConfigError, f"the tag v1 of {URL} is {TWO}, and {ONE} is"),
        ({"tag": "v1", "commit": ONE}, {"v1"}, {}, ConfigError, f"{URL} has no tag v1"),
        ({}, {"v1"}, None, Undecided, f"only {URL} knows which commit its tag v1 is: no such host"),
    ],
)
def test_what_disagrees_or_says_nothing_about_bytes_is_refused(
    written: dict[str, Any],
    pinned: set[str] | None,
    tags: dict[str, str] | None,
    error: type[Exception],
    cause: str,
) -> None:
    with pytest.raises(error, match=cause):
        lock(replace(PINNED, **written), pinned, tags)


def test_a_tag_that_cannot_be_asked_about_is_said_not_to_be_checked() -> None:
    found = lock(replace(PINNED, tag="v1", commit=ONE), {"v1"}, None)
    assert found == TreeLock(tree(ONE, "v1"), f"that the tag v1 of {URL} is 111111111111 (no such host)")


def test_without_a_tag_nobody_is_asked() -> None:
    tags = Tags({})
    lock_tree(replace(PINNED, commit=ONE), {ONE}, cast(Remotes, tags), "a.toml")
    assert tags.asked == 0
