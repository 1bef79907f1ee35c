from __future__ import annotations

import pytest

from scripts.fetch.trees import resolve_address


@pytest.mark.parametrize(
    ("address", "parent", "found"),
    [
        ("https://b.invalid/x.git", "https://a.invalid/group/top", "https://b.invalid/x.git"),
        ("../x.git", "https://a.invalid/group/top", "https://a.invalid/group/x.git"),
        ("../x.git", "https://a.invalid/group/top/", "https://a.invalid/group/x.git"),
        ("../../other/x", "https://a.invalid/group/top.git", "https://a.invalid/other/x"),
        ("./x", "https://a.invalid/top", "https://a.invalid/top/x"),
        ("../x.git", "file:///srv/top.git", "file:///srv/x.git"),
        ("git@a.invalid:x.git", "https://a.invalid/top", "git@a.invalid:x.git"),
    ],
)
def test_a_relative_address_is_relative_to_the_repository_that_names_it(address: str, parent: str, found: str) -> None:
    assert resolve_address(address, parent) == found
