from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from scripts.fetch.git import Missing, Repository
from scripts.fetch.git_tar import Entry, write_tree

ID = "a" * 40


class Blobs:
    """A repository of files whose contents are their ids; those that begin with 0 are missing."""

    def read_blobs(self, object_ids: Sequence[str]) -> Iterator[bytes]:
        for each in object_ids:
            if each.startswith("0"):
                raise Missing(f"there is no file {each}")
            yield each.encode()


def write(entries: Sequence[Entry], archive: Path) -> list[tarfile.TarInfo]:
    write_tree(cast(Repository, Blobs()), entries, archive)
    with tarfile.open(archive) as tar:
        return tar.getmembers()


def test_a_line_of_a_tree_is_an_entry() -> None:
    assert Entry.parse(f"100644 blob {ID}\ta b/ü", "third/x/") == Entry("100644", ID, "third/x/a b/ü")
    assert Entry.parse(f"160000 commit {ID}\tsub", "").is_submodule
    assert not Entry.parse(f"120000 blob {ID}\tlink", "").is_submodule


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", ".git/config", "a/.git", "a/.GIT/x", "a\nb"])
def test_a_path_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not safe"):
        Entry.parse(f"100644 blob {ID}\t{name}", "")


def test_a_mode_that_is_no_files_is_refused() -> None:
    with pytest.raises(ValueError, match="has the mode 040000"):
        Entry.parse(f"040000 tree {ID}\ta", "")


def test_an_archive_is_sorted_and_without_times_or_owners(tmp_path: Path) -> None:
    entries = [Entry("120000", "target", "b"), Entry("100755", "run", "c"), Entry("100644", "text", "a/x")]
    members = write(entries, tmp_path / "new/one.tar")
    assert [(m.name, m.mode, m.size) for m in members if m.isreg()] == [("a/x", 0o644, 4), ("c", 0o755, 3)]
    assert [(m.name, m.linkname) for m in members if m.issym()] == [("b", "target")]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    write(entries[::-1], tmp_path / "other.tar")
    assert (tmp_path / "other.tar").read_bytes() == (tmp_path / "new/one.tar").read_bytes()


def test_names_that_are_no_text_and_long_ones_come_through(tmp_path: Path) -> None:
    names = [b"caf\xe9".decode("utf-8", "surrogateescape"), "x/" * 120 + "y"]
    assert sorted(m.name for m in write([Entry("100644", ID, name) for name in names], tmp_path / "t")) == sorted(names)


def test_a_file_that_is_missing_leaves_no_archive(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        write([Entry("100644", "1", "a"), Entry("100644", "0", "b")], tmp_path / "one.tar")
    assert list(tmp_path.iterdir()) == []
