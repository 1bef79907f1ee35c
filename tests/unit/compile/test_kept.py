"""A compiled wheel is found again by all that went into it, and only while its bytes are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.compile.kept import CompiledWheel, find_compiled, keep_compiled
from scripts.fetch import Cache
from scripts.files import sha256_file

BUILD_ID = "a" * 64
WHEEL = "thing-1.0+cu130.sm120-cp311-cp311-linux_x86_64.whl"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def keep(cache: Cache, folder: Path) -> CompiledWheel:
    wheel = folder / WHEEL
    wheel.write_bytes(b"wheel")
    return keep_compiled(cache, BUILD_ID, wheel, "thing", "1.0+cu130.sm120", 3.5)


def test_a_wheel_is_found_under_its_build_id_by_its_own_hash(cache: Cache, tmp_path: Path) -> None:
    kept = keep(cache, tmp_path)
    assert find_compiled(cache, BUILD_ID) == kept
    assert kept.file.file == WHEEL and kept.file.kind == "wheel" and kept.seconds == 3.5
    assert sha256_file(cache.path(kept.file.sha256)) == kept.file.sha256


def test_nothing_is_known_of_another_build_id(cache: Cache, tmp_path: Path) -> None:
    keep(cache, tmp_path)
    assert find_compiled(cache, "b" * 64) is None


def test_one_whose_bytes_have_gone_is_made_again(cache: Cache, tmp_path: Path) -> None:
    kept = keep(cache, tmp_path)
    cache.path(kept.file.sha256).unlink()
    assert find_compiled(cache, BUILD_ID) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"file": {}, "seconds": 1}', b'{"file": 1, "seconds": "x"}'])
def test_a_damaged_note_is_none(cache: Cache, tmp_path: Path, damage: bytes) -> None:
    keep(cache, tmp_path)
    (cache.root / "compiled" / f"{BUILD_ID}.json").write_bytes(damage)
    assert find_compiled(cache, BUILD_ID) is None
