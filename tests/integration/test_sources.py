"""Sources out of git, of archives and of mirrors: servers on this machine, and no engine."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from scripts.assemble.types import CompileStep, SourceTree, Step
from scripts.compile.sources import fetch_sources
from scripts.errors import ConfigError, ExitCode, Undecided
from scripts.fetch import Cache, Remotes, fetch_files, fetch_trees
from scripts.files import CHUNK
from scripts.index import FoundFile, ask_size
from scripts.lock.sources import lock_sources
from scripts.lock.trees import lock_tree
from scripts.matrix import Component, Memory, Platform, Source
from scripts.matrix.components import ComponentLine
from scripts.model import LockedFile, LockedTree
from scripts.site import PipSettings, Site
from tests.integration.origin import NOBODY, Server, git, make_repository, serve
from tests.unit.builders import lock_bytes, sha256

PLATFORM = Platform("3.11", "2.36", ())
ARCHIVE = bytes(range(256)) * 12_000  # of almost three blocks
CUT = CHUNK + 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Three repositories, each a submodule of the next; the last has one more, which is nowhere."""
    folder = tmp_path / "origin"
    leaf = make_repository(folder / "leaf.git", {"leaf.txt": "leaf"})
    middle = make_repository(folder / "middle.git", {"middle.txt": "middle"}, {"deep/leaf": ("../leaf.git", leaf)})
    modules = {"third/middle": ("../middle.git", middle), "third/lost": (f"{NOBODY}/lost.git", "1" * 40)}
    files = {"README": "top", "run!": "#!/bin/sh\n", "folder/link@": "../README", "folder/ü b": "ü", "empty": ""}
    make_repository(folder / "top.git", files, modules)
    with serve(folder) as server:
        yield server


def make_site(tmp_path: Path, **fields: Any) -> Site:
    values: dict[str, Any] = {"engine": "auto", "registry": "", "mirrors": (), "wheels": ()}
    return Site(**values | {"cache": tmp_path / "cache"} | fields)


def top(server: Server, address: str = "", **fields: Any) -> LockedTree:
    commit = git(server.folder / "top.git", "rev-parse", "main")
    values: dict[str, Any] = {"submodules": ("third/middle",)} | fields
    return LockedTree("top", f"{address or server.url}/top.git", values.pop("commit", commit), **values)


def read_tar(path: Path) -> dict[str, tuple[int, bytes | str]]:
    """Mode and content of each file by path; of a link, its target."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "")}
        found: dict[str, tuple[int, bytes | str]] = {}
        for member in members:
            stream = archive.extractfile(member) if member.isreg() else None
            found[member.name] = (member.mode, stream.read() if stream else member.linkname)
        return found


def fault(tree: LockedTree, site: Site) -> str:
    """What is said of a tree that cannot be had; nothing of it may be in the cache then."""
    with pytest.raises(Undecided) as caught:
        fetch_trees([tree], site)
    assert not Cache(site.cache).tree(tree).exists()
    return str(caught.value)


# --- trees


def test_a_tree_comes_with_its_submodules_and_theirs(server: Server, tmp_path: Path) -> None:
    tree = top(server)
    modules = git(server.folder / "top.git", "show", "main:.gitmodules") + "\n"
    assert read_tar(fetch_trees([tree], make_site(tmp_path)).tree(tree)) == {
        ".gitmodules": (0o644, modules.encode()),
        "README": (0o644, b"top"),
        "empty": (0o644, b""),
        "folder/link": (0o644, "../README"),
        "folder/ü b": (0o644, "ü".encode()),
        "run": (0o755, b"#!/bin/sh\n"),
        "third/middle/.gitmodules": (0o644, b'[submodule "deep/leaf"]\n\tpath = deep/leaf\n\turl = ../leaf.git\n'),
        "third/middle/deep/leaf/leaf.txt": (0o644, b"leaf"),
        "third/middle/middle.txt": (0o644, b"middle"),
    }


def test_its_archive_is_the_same_wherever_it_came_from(server: Server, tmp_path: Path) -> None:
    one, other = top(server), top(server, f"file://{server.folder}")
    first = fetch_trees([one], make_site(tmp_path)).tree(one)
    second = fetch_trees([other], make_site(tmp_path, cache=tmp_path / "other")).tree(other)
    assert first.read_bytes() == second.read_bytes()


def test_what_is_in_the_cache_is_asked_of_nobody(server: Server, tmp_path: Path) -> None:
    fetch_trees([top(server)], make_site(tmp_path))
    server.asked.clear()
    fetch_trees([top(server)], make_site(tmp_path))
    assert server.asked == []
    # Other submodules of the same commit are another archive, made of objects that are here.
    none = top(server, submodules=())
    path = fetch_trees([none], make_site(tmp_path)).tree(none)
    assert server.asked == [] and not any(name.startswith("third") for name in read_tar(path))


def test_a_submodule_that_is_nowhere_is_named_with_every_place(server: Server, tmp_path: Path) -> None:
    said = fault(top(server, submodules=None), make_site(tmp_path, mirrors=(server.url,)))
    assert "top: third/lost: commit 1111111111111111111111111111111111111111 could not be fetched" in said
    assert f"{NOBODY}/lost.git: " in said and f"{server.url}/lost.git: " in said
    assert "next: have lost.git on a mirror in HALLMARK_MIRRORS" in said


def test_a_submodule_that_is_not_in_the_tree_is_refused(server: Server, tmp_path: Path) -> None:
    assert "has no submodule third/midle" in fault(top(server, submodules=("third/midle",)), make_site(tmp_path))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "its submodule sub has no address"),
        ("/etc", "its submodule sub is at /etc, which is not asked"),
        ("file:///etc", "file:///etc, which is not asked"),
        ("git@example.com:a/b.git", "which is not asked"),
        ("ext::sh -c true", "which is not asked"),
        ("--upload-pack=touch x", "which is not asked"),
    ],
)
def test_a_repository_reaches_into_nobodys_machine(address: str, said: str, server: Server, tmp_path: Path) -> None:
    commit = make_repository(server.folder / "bad.git", {"a": "a"}, {"sub": (address, "1" * 40)})
    assert said in fault(LockedTree("bad", f"{server.url}/bad.git", commit), make_site(tmp_path))


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_commit_that_is_not_there_is_refused(scheme: str, server: Server, tmp_path: Path) -> None:
    address = server.url if scheme == "http" else f"file://{server.folder}"
    tree = top(server, address, commit="2" * 40)
    assert f"commit {'2' * 40} could not be fetched; tried:\n    {tree.repository}: " in fault(
        tree, make_site(tmp_path)
    )


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_an_object_that_was_tampered_with_is_refused(scheme: str, server: Server, tmp_path: Path) -> None:
    blob = git(server.folder / "top.git", "rev-parse", "main:README")
    path = server.folder / "top.git/objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob 3\0bad"))
    address = server.url if scheme == "http" else f"file://{server.folder}"
    assert "could not be fetched" in fault(top(server, address), make_site(tmp_path))


@pytest.mark.parametrize("name", ["..", ".git", "."])
def test_a_name_that_leads_elsewhere_is_refused(name: str, server: Server, tmp_path: Path) -> None:
    folder = server.folder / "leaf.git"
    blob = git(folder, "rev-parse", "main:leaf.txt")
    inner = git(folder, "mktree", data=f"100644 blob {blob}\tfile\n")
    tree = git(folder, "mktree", data=f"040000 tree {inner}\t{name}\n")
    commit = git(folder, "commit-tree", "-m", "Out", tree)
    git(folder, "update-ref", "refs/heads/main", commit)
    site = make_site(tmp_path, wheels=(server.folder,))
    assert "leaf" in fault(LockedTree("leaf", f"{NOBODY}/leaf.git", commit), site)


def test_a_connection_that_ends_half_way_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    blob = git(server.folder / "top.git", "rev-parse", "main:README")
    path = f"/top.git/objects/{blob[:2]}/{blob[2:]}"
    server.cuts[path] = 5
    assert "could not be fetched" in fault(top(server), make_site(tmp_path))
    server.asked.clear()
    fetch_trees([top(server)], make_site(tmp_path))
    commit = git(server.folder / "top.git", "rev-parse", "main")
    asked = [each for each, _ in server.asked]
    assert path in asked and f"/top.git/objects/{commit[:2]}/{commit[2:]}" not in asked, "it was here already"


def test_a_repository_may_be_on_a_mirror_alone(server: Server, tmp_path: Path) -> None:
    tree = top(server, NOBODY)
    assert fetch_trees([tree], make_site(tmp_path, mirrors=(server.url,))).tree(tree).is_file()


@pytest.mark.parametrize("form", ["bare", "clone", "bundle"])
def test_a_repository_may_be_in_a_folder_alone(form: str, server: Server, tmp_path: Path) -> None:
    tree = top(server, NOBODY, submodules=())
    folder = tmp_path / "folder"
    folder.mkdir()
    if form == "bundle":
        git(server.folder / "top.git", "bundle", "create", str(folder / f"top-{tree.commit}.bundle"), "main")
    else:
        bare = ["--bare"] if form == "bare" else []
        git(folder, "clone", "--quiet", *bare, str(server.folder / "top.git"), "top.git" if bare else "top")
    assert fetch_trees([tree], make_site(tmp_path, wheels=(folder,))).tree(tree).is_file()


def test_nobodys_settings_count(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = top(server)
    (tmp_path / ".gitconfig").write_text(f'[url "{NOBODY}/"]\n\tinsteadOf = {server.url}/\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert fetch_trees([tree], make_site(tmp_path)).tree(tree).is_file()


def test_a_machine_without_git_is_told_so(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = top(server)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Undecided, match=r"there is no `git` here\n  next: install git"):
        fetch_trees([tree], make_site(tmp_path))


# --- tags and pins


def test_a_tag_means_a_commit_until_it_is_moved(server: Server, tmp_path: Path) -> None:
    folder = server.folder / "leaf.git"
    commit = git(folder, "rev-parse", "main")
    git(folder, "tag", "-a", "-m", "One", "v1", "main")
    git(folder, "update-server-info")
    source = Source("leaf", repository=f"{server.url}/leaf.git", tag="v1", commit=commit, pin="x.cmake")
    remotes = Remotes(make_site(tmp_path))
    assert lock_tree(source, ["v1"], remotes, "a.toml").tree == LockedTree("leaf", source.repository, commit, "v1")
    found = lock_tree(Source("leaf", repository=source.repository, pin="x.cmake"), ["v1"], remotes, "a.toml")
    assert (found.tree.commit, found.unchecked) == (commit, ""), "upstream's tag, and what it means"
    git(folder, "update-ref", "refs/heads/main", git(folder, "commit-tree", "-m", "Two", f"{commit}^{{tree}}"))
    git(folder, "tag", "--force", "v1", "main")
    git(folder, "update-server-info")
    with pytest.raises(ConfigError, match=rf"the tag v1 of \S+ is \w+, and {commit} is written"):
        lock_tree(source, ["v1"], remotes, "a.toml")
    git(folder, "tag", "--delete", "v1")
    git(folder, "update-server-info")
    with pytest.raises(ConfigError, match="has no tag v1"):
        lock_tree(source, ["v1"], remotes, "a.toml")


def make_component(tmp_path: Path, *sources: Source) -> Component:
    folder = tmp_path / "images/serve/components/kernels"
    return Component("kernels", "1.0", folder, "kernels", (), Memory(1), sources, {"12.8": ComponentLine()})


def test_pins_are_read_out_of_a_repository_too(server: Server, tmp_path: Path) -> None:
    text = f"""FetchContent_Declare(lib URL https://example.com/v1.tar.gz URL_HASH SHA256={sha256(ARCHIVE)})
set(TAG "{"3" * 40}")
FetchContent_Declare(other
  GIT_REPOSITORY https://example.com/Other.git  # theirs
  GIT_TAG ${{TAG}})
"""
    commit = make_repository(server.folder / "kernels.git", {"cmake/deps.cmake": text})
    main = Source("kernels", repository=f"{server.url}/kernels.git", commit=commit)
    lib = Source("lib", url="https://example.com/v1.tar.gz", sha256=sha256(ARCHIVE), pin="cmake/deps.cmake")
    other = Source("other", repository="https://example.com/other", pin="cmake/deps.cmake")

    def lock(*sources: Source) -> Any:
        return lock_sources(make_component(tmp_path, *sources), "12.8", PipSettings(), make_site(tmp_path), PLATFORM)

    locked = lock(main, lib, other)
    assert [tree.commit for tree in locked.trees] == [commit, "3" * 40]
    assert [(file.file, file.kind, file.url) for file in locked.files] == [("lib-v1.tar.gz", "archive", lib.url)]
    wrong = Source("lib", url=lib.url, sha256="4" * 64, pin=lib.pin)
    with pytest.raises(ConfigError, match=rf"SHA-256 {'4' * 64} is written, and cmake/deps.cmake pins {lib.sha256}"):
        lock(main, wrong)


def test_what_cannot_be_reached_is_locked_where_its_hash_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = Source("kernels", repository=f"{NOBODY}/kernels.git", commit="1" * 40)
    lib = Source("lib", repository=f"{NOBODY}/lib.git", commit="2" * 40, tag="v2", pin="deps.cmake")
    component = make_component(tmp_path, main, lib)
    locked = lock_sources(component, "12.8", PipSettings(), make_site(tmp_path), PLATFORM)
    assert [tree.commit for tree in locked.trees] == ["1" * 40, "2" * 40]
    said = capsys.readouterr().err
    assert "kernels-1.0 12.8: locked as written, and not checked: what kernels pins" in said
    assert f"that the tag v2 of {NOBODY}/lib.git is 222222222222" in said
    unknown = Source("lib", repository=lib.repository, pin="deps.cmake")
    with pytest.raises(Undecided, match=r"lib: the file deps\.cmake, which pins it, is not to be had"):
        lock_sources(make_component(tmp_path, main, unknown), "12.8", PipSettings(), make_site(tmp_path), PLATFORM)


# --- archives


def make_archive(server: Server, **fields: Any) -> LockedFile:
    (server.folder / "lib-1.0.tar.gz").write_bytes(ARCHIVE)
    values = {"file": "lib-1.0.tar.gz", "kind": "archive", "url": f"{server.url}/lib-1.0.tar.gz"} | fields
    return lock_bytes(ARCHIVE, **values)


def test_a_size_is_asked_for_again_where_the_server_hung_up(server: Server) -> None:
    archive = make_archive(server)
    server.cuts["/lib-1.0.tar.gz"] = 0
    assert ask_size(FoundFile("lib", "1.0", archive.file, archive.sha256, archive.url, 0)) == len(ARCHIVE)
    assert not server.cuts


def test_half_an_archive_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    archive = make_archive(server)
    server.cuts["/lib-1.0.tar.gz"] = CUT
    cache = fetch_files([archive], make_site(tmp_path), PLATFORM)
    assert cache.path(archive.sha256).read_bytes() == ARCHIVE
    assert server.asked == [("/lib-1.0.tar.gz", ""), ("/lib-1.0.tar.gz", f"bytes={CHUNK}-")]


def test_an_archive_of_unknown_size_is_taken_by_its_hash(server: Server, tmp_path: Path) -> None:
    known = make_archive(server)
    archive = LockedFile("archive", "lib", "", known.file, known.sha256, 0, known.url)
    server.cuts["/lib-1.0.tar.gz"] = CUT
    cache = fetch_files([archive], make_site(tmp_path), PLATFORM)
    assert cache.path(archive.sha256).read_bytes() == ARCHIVE
    fetch_files([archive], make_site(tmp_path), PLATFORM)
    assert len(server.asked) == 2, "it is here"


def test_an_archive_with_another_hash_is_refused(server: Server, tmp_path: Path) -> None:
    archive = make_archive(server)
    (server.folder / "lib-1.0.tar.gz").write_bytes(ARCHIVE[::-1])
    with pytest.raises(Undecided, match=f"expected SHA-256 {archive.sha256}, found {sha256(ARCHIVE[::-1])}"):
        fetch_files([archive], make_site(tmp_path), PLATFORM)
    assert not Cache(tmp_path / "cache").path(archive.sha256).exists()


def test_an_archive_may_be_on_a_mirror_or_in_a_folder_alone(server: Server, tmp_path: Path) -> None:
    archive = make_archive(server, url=f"{NOBODY}/lib-1.0.tar.gz")
    shutil.copy(server.folder / archive.file, tmp_path)
    for name, place in (("mirrors", server.url), ("wheels", tmp_path)):
        site = make_site(tmp_path, cache=tmp_path / f"cache of {name}", **{name: (place,)})
        assert fetch_files([archive], site, PLATFORM).path(archive.sha256).is_file()


# --- all of them


def test_all_that_is_not_to_be_had_is_said_at_once(server: Server, tmp_path: Path) -> None:
    archive = make_archive(server, url=f"{NOBODY}/lib-1.0.tar.gz")
    there, lost = top(server, submodules=()), LockedTree("lost", f"{NOBODY}/lost.git", "1" * 40)
    sources = tuple(SourceTree(each.name, each) for each in (there, archive, lost))
    step = CompileStep("kernels", make_component(tmp_path), cast(Step, None), sources, {})
    with pytest.raises(Undecided) as caught:
        fetch_sources([step], make_site(tmp_path), PLATFORM)
    said = str(caught.value)
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE
    assert f"{archive.file}: could not be fetched" in said and f"lost: commit {lost.commit} could not be" in said
    assert (
        "2 sources are not to be had\n  next: name a mirror in HALLMARK_MIRRORS or a folder in HALLMARK_WHEELS" in said
    )
    assert "`--recipe wheel`" in said
    assert Cache(tmp_path / "cache").tree(there).is_file(), "what could be had is here for the next time"
