from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.fetch import Cache
from scripts.lock import texts
from scripts.lock.texts import read_texts
from scripts.matrix import Platform
from scripts.model import LockedTree
from scripts.site import Site
from tests.unit.builders import lock_bytes, put_in_cache

PLATFORM = Platform("3.11", "2.36", ())
TREE = LockedTree("lib", "https://example.com/lib", "1" * 40)


def pack(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def read(source: Any, wanted: set[str], tmp_path: Path) -> dict[str, str]:
    return read_texts(source, wanted, Site("auto", "", (), (), tmp_path), PLATFORM, "a.toml")


def test_files_of_an_archive_are_named_below_its_one_folder(tmp_path: Path) -> None:
    data = pack(**{"lib-1.0/CMakeLists.txt": "top", "lib-1.0/cmake/x.cmake": "x", "lib-1.0/other": ""})
    put_in_cache(Cache(tmp_path), data)
    source = lock_bytes(data, file="lib-1.0.tar.gz", kind="sdist")
    found = read(source, {"CMakeLists.txt", "cmake/x.cmake"}, tmp_path)
    assert found == {"CMakeLists.txt": "top", "cmake/x.cmake": "x"}
    with pytest.raises(ConfigError, match=r"a\.toml: lib has no gone\n  next: correct `pin`"):
        read(source, {"CMakeLists.txt", "gone"}, tmp_path)


def test_files_of_a_tree_are_named_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Cache(tmp_path).tree(TREE)
    path.parent.mkdir()
    path.write_bytes(pack(**{"cmake/x.cmake": "x"}))
    monkeypatch.setattr(texts, "fetch_trees", lambda trees, site: Cache(site.cache))
    assert read(TREE, {"cmake/x.cmake"}, tmp_path) == {"cmake/x.cmake": "x"}


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    put_in_cache(Cache(tmp_path), b"text")
    with pytest.raises(ConfigError, match="lib is no archive"):
        read(lock_bytes(b"text", file="lib-1.0.tar.gz", kind="sdist"), {"x"}, tmp_path)
