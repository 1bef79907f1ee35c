from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.lock import debian
from scripts.lock.debian import Archive, lock_stanza, open_archive
from tests.unit.builders import sha256, write

STANZAS = """\
Package: dpkg
Version: 1.21
Essential: yes
Description: a line
 Depends: not-a-field

Package: tar
Version: 1.34
Priority: required

Package: tar
Version: 1.35
Priority: required

Package: libc6
Version: 1:2.36-9
Priority: optional
"""
SAID = """\
Reading package lists...
Inst libc6 (1:2.36-9 Debian:12.12/oldstable, Debian-Security:12/oldstable-security [amd64])
Inst tar (1.35 Debian:12.12/oldstable [amd64])
Inst dpkg (1.21 Debian:12.12/oldstable [amd64]) []
Conf libc6 (1:2.36-9 Debian:12.12/oldstable [amd64])
Conf tar (1.35 Debian:12.12/oldstable [amd64])
"""


class Solver:
    """Stands in for apt-get: says what it was made with, and keeps the command."""

    def __init__(self, said: str = SAID, stderr: str = "") -> None:
        self.said, self.stderr = said, stderr
        self.command: list[str] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.command = command
        return subprocess.CompletedProcess(command, 100 if self.stderr else 0, self.said, self.stderr)

    def solve(self, *requested: str) -> list[tuple[str, str]]:
        packages = {(s["Package"], s["Version"]): s for s in debian._parse(STANZAS)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "run", self)
            found = Archive(packages, 0, Path("/apt")).solve(requested)
        return [(stanza["Package"], stanza["Version"]) for stanza in found]


def test_what_apt_would_install_is_what_is_locked_by_name() -> None:
    assert Solver().solve("libc6") == [("dpkg", "1.21"), ("libc6", "1:2.36-9"), ("tar", "1.35")]


def test_apt_is_asked_for_what_is_essential_and_required_as_well() -> None:
    solver = Solver()
    solver.solve("libc6")
    assert solver.command[-3:] == ["dpkg", "libc6", "tar"]
    assert "libc6" not in Solver().command


def test_apt_solves_for_an_empty_system_without_the_hosts_sources_or_preferences() -> None:
    solver = Solver()
    solver.solve("libc6")
    assert solver.command[:3] == ["apt-get", "install", "--simulate"]
    for setting in (
        "Dir::State::status=/apt/status",
        "Dir::Etc::sourcelist=/apt/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        "Dir::Etc::preferences=/dev/null",
        "Dir::State::lists=/apt/lists",
        "APT::Install-Recommends=false",
    ):
        assert setting in solver.command


def test_what_apt_cannot_have_together_is_what_the_user_reads() -> None:
    said = "Reading package lists...\nThe following packages have unmet dependencies:\n exim : Conflicts: postfix\n"
    told = r"apt-get install: apt finds no such set\n    The following[\s\S]*Conflicts: postfix\n    E: held"
    with pytest.raises(ConfigError, match=told) as caught:
        Solver(said, "E: held broken packages\n").solve("exim")
    assert "image.toml" in caught.value.problems[0].next_step
    assert "Reading" not in str(caught.value)


@pytest.mark.parametrize("said", ["", "Inst tar (1.36 Debian:12 [amd64])\n", "Inst other (1 Debian:12 [amd64])\n"])
def test_what_apts_own_lists_do_not_have_is_not_locked(said: str) -> None:
    with pytest.raises(Undecided, match="what its lists do not have"):
        Solver(said).solve("libc6")


def test_the_newest_version_is_found_by_debians_own_order() -> None:
    versions = ("1.9", "1.10", "1.10~rc1")
    archive = Archive({("a", v): {"Package": "a", "Version": v} for v in versions}, 0, Path("/apt"))
    assert archive.find_newest()["a"]["Version"] == "1.10"


# --- reading suites


def serve_suites(monkeypatch: pytest.MonkeyPatch, suites: dict[str, tuple[str, str]]) -> list[str]:
    """Stand in for apt: date and packages of each suite; returns the list of sources as apt was given it."""
    given: list[str] = []

    def apt_update(folder: Path, sources: Sequence[str]) -> None:
        given.extend(sources)
        for suite, (date, packages) in suites.items():
            write(folder / f"lists/mirror_{suite}_main_Packages", packages)
            write(folder / f"lists/mirror_{suite}_InRelease", f"Origin: x\nDate: {date}\n")

    monkeypatch.setattr(debian, "_apt_update", apt_update)
    roots = {"stable": "http://mirror.invalid/a", "stable-security": "http://mirror.invalid/s"}
    monkeypatch.setattr(debian, "read_apt_mirrors", lambda: roots)
    return given


def test_every_version_of_all_suites_is_known_with_the_newest_indexs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = "Sat, 01 Nov 2025 00:00:00 UTC", "Sun, 02 Nov 2025 00:00:00 UTC"
    stable = "Package: a\nVersion: 1.9\n\nPackage: c\nVersion: 1:1\n"
    security = "Package: a\nVersion: 1.10\n\nPackage: c\nVersion: 9\n"
    serve_suites(monkeypatch, {"stable": (late, stable), "stable-security": (early, security)})
    with open_archive(["stable", "stable-security"]) as archive:
        assert set(archive.packages) == {("a", "1.9"), ("a", "1.10"), ("c", "1:1"), ("c", "9")}
        newest = {name: stanza["Version"] for name, stanza in archive.find_newest().items()}
        assert newest == {"a": "1.10", "c": "1:1"}
        assert archive.epoch == 1762041600
        assert archive.folder.is_dir()
    assert not archive.folder.exists()


def test_each_suite_comes_from_the_sites_mirror_for_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    given = serve_suites(monkeypatch, {"any": ("Sat, 01 Nov 2025 00:00:00 UTC", "")})
    with open_archive(["stable", "next", "next-security"]):
        pass
    assert [line.split("] ")[1] for line in given] == [
        "http://mirror.invalid/a stable main",
        "http://mirror.invalid/a next main",
        "http://mirror.invalid/s next-security main",
    ]
    assert all("[signed-by=" in line for line in given)


def test_a_site_without_apt_sources_cannot_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    serve_suites(monkeypatch, {})
    monkeypatch.setattr(debian, "read_apt_mirrors", lambda: {})
    with pytest.raises(Undecided, match="no source that could serve `stable`"):
        open_archive(["stable"]).__enter__()


# --- what a lock says of a package


@pytest.mark.parametrize(
    ("path", "archive"),
    [("pool/main/l/libc6_2_amd64.deb", "debian"), ("pool/updates/main/l/libc6_2_amd64.deb", "debian-security")],
)
def test_a_package_is_locked_by_its_bytes_and_its_place_in_an_archive(path: str, archive: str) -> None:
    digest = sha256(b"libc6")
    fields = {"Package": "libc6", "Version": "1:2", "Filename": path, "SHA256": digest, "Size": "5"}
    locked = lock_stanza(fields)
    assert (locked.kind, locked.name, locked.version, locked.size) == ("deb", "libc6", "1:2", 5)
    assert (locked.file, locked.path, locked.sha256) == ("libc6_2_amd64.deb", path, digest)
    assert f"/archive/{archive}/" in locked.url and locked.url.endswith(f"Z/{path}")
