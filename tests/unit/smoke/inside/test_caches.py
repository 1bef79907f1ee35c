"""What lies in the folder of caches: counted by kind, without what links point to, and to a bound."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import caches
import pytest
from caches import measure_caches


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / ".cache"
    for name, size in {"triton/a/b.cubin": 500, "triton/c.so": 300, "vllm/torch_compile_cache/x/g.py": 20}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return folder


def values(home: Path) -> dict[str, Any]:
    measured = measure_caches(home)
    assert {(each["unit"], each["better"]) for each in measured["figures"]} == {("B", "lower"), ("files", "lower")}
    return {each["name"]: each["value"] for each in measured["figures"]} | {
        key: measured[key] for key in ("unread", "more")
    }


def test_files_and_bytes_are_counted_by_the_cache_that_they_are_of(kept: Path) -> None:
    (kept / "loose").write_bytes(bytes(7))
    assert values(kept.parent) == {
        "cache size": 827,
        "cache files": 4,
        "cache/triton size": 800,
        "cache/triton files": 2,
        "cache/vllm size": 20,
        "cache/vllm files": 1,
        "cache/loose size": 7,
        "cache/loose files": 1,
        "unread": 0,
        "more": False,
    }


def test_nothing_is_kept_before_the_first_start(tmp_path: Path) -> None:
    assert values(tmp_path) == {"cache size": 0, "cache files": 0, "unread": 0, "more": False}


def test_it_looks_into_the_home_folder_of_the_container(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(kept.parent))
    assert measure_caches()["figures"][0]["value"] == 820


def test_links_are_not_followed(kept: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "large").write_bytes(bytes(9999))
    (kept / "triton" / "folder").symlink_to(other)
    (kept / "triton" / "file").symlink_to(other / "large")
    (kept / "triton" / "round").symlink_to(kept)
    assert values(tmp_path)["cache size"] == 820


def test_what_is_no_file_is_not_counted(kept: Path) -> None:
    os.mkfifo(kept / "triton" / "pipe")
    assert values(kept.parent)["cache files"] == 3


def test_the_walk_ends_at_its_bound_and_says_so(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (kept / "triton" / f"k{number}").write_bytes(b"")
    monkeypatch.setattr(caches, "MOST_ENTRIES", 20)
    found = values(kept.parent)
    assert found["more"] and found["cache files"] <= 20


def test_many_kinds_are_put_together(kept: Path) -> None:
    for number in range(caches.MOST_KINDS):
        (kept / f"x{number:02}").write_bytes(b"1")
    found = values(kept.parent)
    assert found["cache/others files"] == 2 and found["cache/others size"] == 2
    assert found["cache size"] == 820 + caches.MOST_KINDS


def test_what_cannot_be_looked_into_is_said(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.scandir

    def refuse(path: Path) -> Any:
        if path.name == "a":
            raise PermissionError
        return look(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = values(kept.parent)
    assert found["unread"] == 1 and found["cache size"] == 320
