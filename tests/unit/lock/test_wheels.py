from __future__ import annotations

import pytest

from scripts.errors import ConfigError
from scripts.index import FoundFile
from scripts.lock import wheels
from scripts.lock.wheels import lock_upstream, lock_wheels
from scripts.matrix import Upstream

URL = "https://index.invalid/files"
WHEEL = FoundFile("thing", "1.0", "thing-1.0-py3-none-any.whl", "a" * 64, f"{URL}/thing-1.0-py3-none-any.whl", 0)
UPSTREAM = Upstream(WHEEL.file, WHEEL.sha256, 7, "https://upstream.invalid/thing.whl")


@pytest.fixture(autouse=True)
def _sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "ask_size", lambda wheel: 123)


def test_a_wheel_of_an_index_is_locked_without_its_address() -> None:
    [locked] = lock_wheels([WHEEL], [])
    assert (locked.file, locked.sha256, locked.size, locked.url) == (WHEEL.file, WHEEL.sha256, 123, "")


def test_a_wheel_of_upstream_keeps_the_address_that_was_written_down() -> None:
    [locked] = lock_wheels([WHEEL], [UPSTREAM])
    assert locked.url == UPSTREAM.url


def test_upstream_bytes_that_are_not_those_expected_are_refused_with_both_hashes() -> None:
    other = Upstream(WHEEL.file, "b" * 64, 7, UPSTREAM.url)
    with pytest.raises(ConfigError) as caught:
        lock_wheels([WHEEL], [other])
    assert f"expected SHA-256 {'b' * 64}, found {'a' * 64}" in str(caught.value)
    assert WHEEL.file in str(caught.value)


def test_an_upstream_wheel_is_fetched_under_its_normal_name_and_version() -> None:
    locked = lock_upstream(Upstream("Some_Thing-1.0.0+cpu-py3-none-any.whl", "a" * 64, 7, UPSTREAM.url))
    assert (locked.kind, locked.name, locked.version) == ("wheel", "some-thing", "1.0.0+cpu")
    assert (locked.file, locked.url) == ("Some_Thing-1.0.0+cpu-py3-none-any.whl", UPSTREAM.url)
