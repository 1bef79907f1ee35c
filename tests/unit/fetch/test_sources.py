from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.fetch import sources
from scripts.fetch.sources import Sources, find_settings, find_sources
from scripts.index import FoundFile
from scripts.matrix import Platform
from scripts.model import LockedFile
from scripts.site import PipSettings, Site
from tests.unit.builders import lock_bytes

PLATFORM = Platform("3.11", "2.36", ())
WHEEL = lock_bytes(b"wheel", file="thing-1.0-py3-none-any.whl", name="thing")
UPSTREAM = lock_bytes(b"upstream", file="torch-2.0-py3-none-any.whl", name="torch", url="https://up.invalid/torch.whl")
DEB = lock_bytes(
    b"deb", file="libc6_2.deb", kind="deb", path="pool/main/libc6_2.deb", url="https://snap.invalid/libc6.deb"
)


def make_site(**fields: Any) -> Site:
    values: dict[str, Any] = {"engine": "auto", "registry": "", "mirrors": (), "wheels": (), "cache": Path("/nowhere")}
    return Site(**values | fields)


def ask(site: Site, missing: Sequence[LockedFile]) -> Sources:
    """As a fetch of these files does."""
    return find_sources(site, PLATFORM, missing, find_settings(missing))


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the site's pip, apt and index say; each that is asked notes it under `asked`."""
    found: dict[str, Any] = {"pip": PipSettings(), "apt": {}, "index": {}, "asked": []}

    def resolve(pins: Sequence[str], absent: Sequence[str], *_: Any, **options: Any) -> list[FoundFile]:
        assert options["with_dependencies"] is False, "only the files of these pins are wanted"
        found["asked"].append(sorted(pins))
        if isinstance(found["index"], Exception):
            raise found["index"]
        known = [(*pin.split("==="), *found["index"][pin]) for pin in pins if pin in found["index"]]
        return [FoundFile(name, version, file, digest, url, 0) for name, version, file, digest, url in known]

    def read_pip() -> Any:
        found["asked"].append("pip")
        return found["pip"]

    def read_apt() -> dict[str, str]:
        found["asked"].append("apt")
        return dict(found["apt"])

    monkeypatch.setattr(sources, "resolve_wheels", resolve)
    monkeypatch.setattr(sources, "read_pip_settings", read_pip)
    monkeypatch.setattr(sources, "read_apt_mirrors", read_apt)
    return found


def test_a_package_comes_from_the_sites_archives_then_upstream_then_the_mirrors() -> None:
    known = Sources(apt_roots=("http://a.invalid", "http://b.invalid"), mirrors=("http://m.invalid/hallmark",))
    assert known.urls(DEB) == [
        "http://a.invalid/pool/main/libc6_2.deb",
        "http://b.invalid/pool/main/libc6_2.deb",
        "https://snap.invalid/libc6.deb",
        "http://m.invalid/hallmark/pool/main/libc6_2.deb",
    ]


def test_a_wheel_comes_from_the_sites_index_then_upstream_then_the_mirrors() -> None:
    urls = {UPSTREAM.file: "https://index.invalid/torch.whl"}
    known = Sources(apt_roots=("http://a.invalid",), index_urls=urls, mirrors=("http://m.invalid",))
    assert known.urls(UPSTREAM) == [
        "https://index.invalid/torch.whl",
        "https://up.invalid/torch.whl",
        "http://m.invalid/torch-2.0-py3-none-any.whl",
    ]
    assert known.urls(WHEEL) == ["http://m.invalid/thing-1.0-py3-none-any.whl"]
    assert Sources().urls(WHEEL) == []


def test_only_what_is_missing_is_asked_about(settings: dict[str, Any]) -> None:
    settings["apt"] = {"stable": "http://a.invalid", "security": "http://s.invalid", "updates": "http://a.invalid"}
    assert ask(make_site(), [DEB]).apt_roots == ("http://a.invalid", "http://s.invalid")
    assert settings["asked"] == ["apt"]
    settings["asked"].clear()
    assert ask(make_site(), [UPSTREAM]).apt_roots == ()
    assert settings["asked"] == ["pip"], "a wheel with an address of its own is not asked of the index"


def test_the_index_tells_the_addresses_of_wheels(settings: dict[str, Any]) -> None:
    settings["index"] = {"thing===1.0": (WHEEL.file, WHEEL.sha256, "https://index.invalid/thing.whl")}
    assert ask(make_site(), [WHEEL]).index_urls == {WHEEL.file: "https://index.invalid/thing.whl"}


def test_a_wheel_that_the_solver_found_in_a_folder_has_no_address(settings: dict[str, Any]) -> None:
    settings["index"] = {"thing===1.0": (WHEEL.file, WHEEL.sha256, "file:///wheels/thing.whl")}
    assert ask(make_site(), [WHEEL]).index_urls == {}


def test_the_solver_is_shown_the_sites_own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: list[Sequence[Path]] = []

    def resolve(
        pins: Any, absent: Any, platform: Any, pip: Any, folders: Sequence[Path] = (), **_: Any
    ) -> list[FoundFile]:
        shown.append(folders)
        return []

    monkeypatch.setattr(sources, "resolve_wheels", resolve)
    ask(make_site(wheels=(tmp_path,)), [WHEEL])
    assert shown == [(tmp_path,)]


def test_two_versions_of_one_name_are_asked_for_in_turn(settings: dict[str, Any]) -> None:
    other = lock_bytes(b"newer", file="thing-2.0-py3-none-any.whl", name="thing", version="2.0")
    settings["index"] = {
        "thing===1.0": (WHEEL.file, WHEEL.sha256, "https://index.invalid/1"),
        "thing===2.0": (other.file, other.sha256, "https://index.invalid/2"),
    }
    found = ask(make_site(), [WHEEL, other])
    assert found.index_urls == {WHEEL.file: "https://index.invalid/1", other.file: "https://index.invalid/2"}
    assert sorted(map(str, settings["asked"])) == ["['thing===1.0']", "['thing===2.0']", "pip"]


def test_a_site_without_an_index_still_has_its_mirrors_and_folders(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["index"] = ConfigError("no such host")
    settings["pip"] = PipSettings(folders=(tmp_path / "pips",))
    site = make_site(mirrors=("http://m.invalid",))
    found = ask(site, [WHEEL])
    assert "no such host" in found.index_fault
    assert found.mirrors == ("http://m.invalid",)
    assert find_settings([WHEEL]).folders == (tmp_path / "pips",)
    settings["asked"].clear()
    assert find_settings([DEB]) == PipSettings() and not settings["asked"], "pip has no Debian packages"


def test_the_index_tells_the_addresses_of_sdists_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sdist = lock_bytes(b"sdist", file="thing-1.0.tar.gz", kind="sdist", name="thing")
    url = "https://index.invalid/thing-1.0.tar.gz"
    asked: list[list[str]] = []

    def find(pins: Sequence[str], *_: Any) -> list[FoundFile]:
        asked.append(list(pins))
        return [FoundFile("thing", "1.0", sdist.file, sdist.sha256, url, 0)]

    monkeypatch.setattr(sources, "find_sdists", find)
    assert ask(make_site(), [sdist, WHEEL]).index_urls == {sdist.file: url}
    assert asked == [["thing===1.0"]], "once, and apart from the wheel of that name"


def test_an_archive_has_its_own_address_and_is_not_asked_about(settings: dict[str, Any]) -> None:
    archive = lock_bytes(b"x", file="kit-v1.tar.gz", kind="archive", url="https://up.invalid/v1.tar.gz")
    found = ask(make_site(mirrors=("https://m.invalid",)), [archive])
    assert settings["asked"] == []
    assert found.urls(archive) == ["https://up.invalid/v1.tar.gz", "https://m.invalid/kit-v1.tar.gz"]
