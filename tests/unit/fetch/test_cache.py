from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.fetch.cache import lay_out_named
from scripts.model import LockedTree
from tests.unit.builders import lock_bytes, put_in_cache, sha256

DATA = b"some bytes"
FILE = lock_bytes(DATA)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def write_part(cache: Cache, data: bytes) -> Path:
    with cache.claim(FILE.sha256):
        cache.part(FILE.sha256).write_bytes(data)
    return cache.part(FILE.sha256)


def test_a_file_is_named_by_its_hash(cache: Cache) -> None:
    assert cache.path(FILE.sha256) == cache.root / "sha256" / FILE.sha256[:2] / FILE.sha256


def test_right_bytes_get_their_name_and_cannot_be_written_to_by_mistake(cache: Cache) -> None:
    part = write_part(cache, DATA)
    assert cache.accept(FILE.sha256) == FILE.sha256
    path = cache.path(FILE.sha256)
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o444
    assert not part.exists()
    assert cache.holds(FILE)


@pytest.mark.parametrize("data", [b"", b"other byte", DATA + b"!"])
def test_wrong_bytes_are_deleted_and_get_no_name(data: bytes, cache: Cache) -> None:
    part = write_part(cache, data)
    assert cache.accept(FILE.sha256) == sha256(data)
    assert not part.exists() and not cache.path(FILE.sha256).exists()


def test_accepting_again_replaces_a_damaged_file(cache: Cache) -> None:
    put_in_cache(cache, DATA).write_bytes(b"cut")
    write_part(cache, DATA)
    cache.accept(FILE.sha256)
    assert cache.path(FILE.sha256).read_bytes() == DATA


def test_an_empty_cache_holds_nothing(cache: Cache) -> None:
    assert not cache.holds(FILE)


def test_a_file_of_another_size_is_not_held(cache: Cache) -> None:
    put_in_cache(cache, DATA).write_bytes(DATA[:-1])
    assert not cache.holds(FILE)


def test_a_claim_keeps_others_of_the_same_file_out_while_it_lasts(cache: Cache) -> None:
    def is_free() -> bool:
        with (cache.root / "locks" / FILE.sha256[:2]).open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with cache.claim(FILE.sha256):
        assert not is_free()
    assert is_free()


def test_a_cache_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file/cache"
    expected = r"cannot be written to: Not a directory[\s\S]*XDG_CACHE_HOME"
    with pytest.raises(Undecided, match=expected) as caught, Cache(root).claim(FILE.sha256):
        pass
    assert caught.value.problems[0].place == str(root)


def test_files_have_their_own_names_for_a_while(cache: Cache) -> None:
    put_in_cache(cache, DATA)
    with lay_out_named(cache, [FILE]) as folder:
        assert [path.name for path in folder.iterdir()] == [FILE.file]
        assert (folder / FILE.file).read_bytes() == DATA
    assert not folder.exists()
    assert cache.holds(FILE)


def test_a_file_of_unknown_size_is_held_by_its_name(cache: Cache) -> None:
    unsized = replace(FILE, size=0)
    assert not cache.holds(unsized)
    put_in_cache(cache, b"x")
    assert cache.holds(replace(unsized, sha256=sha256(b"x")))


def test_a_tree_is_named_by_its_commit_and_the_submodules_in_it(cache: Cache) -> None:
    tree = LockedTree("lib", "https://a.invalid/lib", "c" * 40)
    named = [
        cache.tree(each).relative_to(cache.root).as_posix()
        for each in (tree, replace(tree, submodules=()), replace(tree, submodules=("a", "b")))
    ]
    assert named[0] == f"git/{'c' * 40}.tar" and len(set(named)) == 3
    assert cache.tree(replace(tree, name="other", repository="https://b.invalid/x", tag="v1")) == cache.tree(tree)
