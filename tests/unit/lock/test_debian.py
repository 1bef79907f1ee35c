from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.lock import debian
from scripts.lock.debian import Archive, Stanza, close_over, lock_stanza, read_archive
from tests.unit.builders import sha256, write

# A small archive: name, version, and the fields that matter to a closure.
SYSTEM = """\
Package: dpkg
Version: 1.21
Essential: yes
Pre-Depends: libc6 (>= 2.36), tar
Description: a line
 Depends: not-a-field

Package: libc6
Version: 2.36-9
Priority: optional

Package: tar
Version: 1.34
Priority: required
Depends: libc6

Package: mawk
Version: 1.3
Provides: awk (= 1), old-awk
Depends: libc6

Package: gawk
Version: 5.2
Provides: awk
Depends: libc6, libreadline8

Package: libreadline8
Version: 8.2

Package: base-files
Version: 12.4
Pre-Depends: awk

Package: mail-user
Version: 1
Depends: postfix | mail-server, tool [amd64]

Package: print-user
Version: 1
Depends: cups | lprng

Package: cups
Version: 2

Package: lprng
Version: 3

Package: exim
Version: 4
Provides: mail-server

Package: postfix
Version: 3

Package: tool
Version: 1
Depends: loop

Package: loop
Version: 1
Depends: tool

Package: broken
Version: 1
Depends: nowhere | nothing
"""


def index(text: str) -> Archive:
    """An archive as `read_archive` would make it of one index."""
    packages: dict[str, Stanza] = {}
    providers: dict[str, list[str]] = {}
    for stanza in debian._parse(text):
        packages[stanza["Package"]] = stanza
    for name in sorted(packages):
        for [provided] in debian._relations(packages[name], "Provides"):
            providers.setdefault(provided, []).append(name)
    return Archive(packages, providers, 0)


def names(requested: Sequence[str], *, with_essential: bool = False, text: str = SYSTEM) -> list[str]:
    return [stanza["Package"] for stanza in close_over(index(text), requested, with_essential)]


def test_a_closure_holds_what_each_package_depends_on_sorted_by_name() -> None:
    assert names(["dpkg"]) == ["dpkg", "libc6", "tar"]
    assert names(["libc6"]) == ["libc6"]
    assert names([]) == []


def test_a_system_that_dpkg_can_configure_holds_the_essential_and_the_required() -> None:
    assert names(["libreadline8"], with_essential=True) == ["dpkg", "libc6", "libreadline8", "tar"]


def test_packages_may_depend_on_each_other() -> None:
    assert names(["tool"]) == ["loop", "tool"]


def test_the_first_alternative_is_taken() -> None:
    assert names(["mail-user"]) == ["loop", "mail-user", "postfix", "tool"]


def test_an_alternative_that_is_wanted_anyway_is_taken_instead() -> None:
    assert names(["print-user"]) == ["cups", "print-user"]
    assert names(["lprng", "print-user"]) == ["lprng", "print-user"]
    assert names(["exim", "mail-user"]) == ["exim", "loop", "mail-user", "tool"]


def test_an_alternative_that_does_not_exist_is_passed_over() -> None:
    without_postfix = SYSTEM.replace("Package: postfix", "Package: other")
    assert names(["mail-user"], text=without_postfix) == ["exim", "loop", "mail-user", "tool"]


def test_a_virtual_package_is_its_first_provider_by_name() -> None:
    assert names(["base-files"]) == ["base-files", "gawk", "libc6", "libreadline8"]


def test_a_provider_that_is_wanted_anyway_goes_first() -> None:
    assert names(["base-files", "mawk"]) == ["base-files", "libc6", "mawk"]


def test_the_order_of_what_is_asked_for_does_not_matter() -> None:
    assert names(["mail-user", "exim", "base-files", "mawk"]) == names(["mawk", "base-files", "exim", "mail-user"])


def test_an_unknown_package_is_a_mistake_in_the_image() -> None:
    with pytest.raises(ConfigError, match=r"image\.toml: no package `libc7` in these suites"):
        names(["libc7"])


def test_a_dependency_that_no_suite_has_names_who_asked() -> None:
    with pytest.raises(ConfigError, match=r"^broken: no package `nowhere`"):
        names(["broken"])


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


def test_the_newest_version_of_all_suites_wins_by_debians_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = "Sat, 01 Nov 2025 00:00:00 UTC", "Sun, 02 Nov 2025 00:00:00 UTC"
    stable = "Package: a\nVersion: 1.9\n\nPackage: b\nVersion: 1.0\n\nPackage: c\nVersion: 1:1\n"
    security = "Package: a\nVersion: 1.10\n\nPackage: b\nVersion: 1.0~rc1\n\nPackage: c\nVersion: 9\nProvides: v\n"
    serve_suites(monkeypatch, {"stable": (late, stable), "stable-security": (early, security)})
    archive = read_archive(["stable", "stable-security"])
    assert {name: stanza["Version"] for name, stanza in archive.packages.items()} == {
        "a": "1.10",
        "b": "1.0",
        "c": "1:1",
    }
    assert archive.providers == {}, "only the version that was chosen provides anything"
    assert archive.epoch == 1762041600


def test_each_suite_comes_from_the_sites_mirror_for_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    given = serve_suites(monkeypatch, {"any": ("Sat, 01 Nov 2025 00:00:00 UTC", "")})
    read_archive(["stable", "next", "next-security"])
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
        read_archive(["stable"])


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
