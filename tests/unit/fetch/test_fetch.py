from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.fetch import Cache, fetch_files
from scripts.fetch import fetch as module
from scripts.fetch.sources import Sources
from scripts.matrix import Platform
from scripts.model import LockedFile
from scripts.site import PipSettings
from tests.unit.builders import lock_bytes, put_in_cache

from .fake_web import FakeWeb, serve, status, stream
from .test_sources import make_site

MIRROR = "https://mirror.invalid"
PLATFORM = Platform("3.11", "2.36", ())
CONTENTS = {f"thing{number}-1.0-py3-none-any.whl": f"bytes of {number}".encode() * 50 for number in range(20)}
FILES = [lock_bytes(data, file=name) for name, data in CONTENTS.items()]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> FakeWeb:
    web = FakeWeb()
    for name, data in CONTENTS.items():
        web.put(f"{MIRROR}/{name}", serve(data))
    monkeypatch.setattr(module, "HTTPAdapter", lambda **_: web)
    monkeypatch.setattr(module, "find_sources", lambda *_: Sources(mirrors=(MIRROR,)))
    monkeypatch.setattr(module, "find_settings", lambda _: PipSettings())
    return web


def fetch(files: Sequence[LockedFile], root: Path, *folders: Path) -> Cache:
    return fetch_files(files, make_site(cache=root / "cache", wheels=folders), PLATFORM)


def held(cache: Cache, files: Sequence[LockedFile]) -> list[bool]:
    return [cache.path(f.sha256).is_file() and cache.path(f.sha256).read_bytes() == CONTENTS[f.file] for f in files]


def test_many_files_are_fetched(web: FakeWeb, tmp_path: Path) -> None:
    assert all(held(fetch(FILES, tmp_path), FILES))
    assert len(web.requests) == len(FILES)


def test_what_is_there_is_not_fetched_and_not_even_looked_for(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(FILES, tmp_path)
    web.requests.clear()
    monkeypatch.delattr(module, "find_sources")
    fetch(FILES, tmp_path)
    assert web.requests == []


def test_only_what_no_folder_has_is_looked_for(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheels").mkdir()
    for file in FILES[1:]:
        (tmp_path / "wheels" / file.file).write_bytes(CONTENTS[file.file])
    asked: list[LockedFile] = []

    def find(_: Any, __: Any, missing: Sequence[LockedFile], *___: Any) -> Sources:
        asked.extend(missing)
        return Sources(mirrors=(MIRROR,))

    monkeypatch.setattr(module, "find_sources", find)
    assert all(held(fetch(FILES, tmp_path, tmp_path / "wheels"), FILES))
    assert asked == [FILES[0]] and len(web.requests) == 1


def test_pips_own_folders_are_looked_into_too(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in FILES:
        (tmp_path / file.file).write_bytes(CONTENTS[file.file])
    monkeypatch.setattr(module, "find_settings", lambda _: PipSettings(folders=(tmp_path,)))
    assert all(held(fetch(FILES, tmp_path), FILES)) and web.requests == []


def test_where_the_folders_have_all_the_network_is_not_asked(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in FILES:
        (tmp_path / file.file).write_bytes(CONTENTS[file.file])
    monkeypatch.delattr(module, "find_sources")
    assert all(held(fetch(FILES, tmp_path, tmp_path), FILES))
    assert web.requests == []


def test_bytes_that_two_files_share_are_fetched_once(web: FakeWeb, tmp_path: Path) -> None:
    fetch([FILES[0], FILES[0], lock_bytes(CONTENTS[FILES[0].file], file=FILES[0].file, name="again")], tmp_path)
    assert len(web.requests) == 1


def test_only_what_is_missing_is_fetched(web: FakeWeb, tmp_path: Path) -> None:
    for data in list(CONTENTS.values())[1:]:
        put_in_cache(Cache(tmp_path / "cache"), data)
    fetch(FILES, tmp_path)
    assert web.asked(f"{MIRROR}/{FILES[0].file}") == [""] and len(web.requests) == 1


def test_all_that_failed_is_reported_once_the_others_are_in(web: FakeWeb, tmp_path: Path) -> None:
    for file in FILES[:3]:
        web.put(f"{MIRROR}/{file.file}", status(404))
    with pytest.raises(Undecided) as caught:
        fetch(FILES, tmp_path)
    assert sorted(problem.place for problem in caught.value.problems) == sorted(file.file for file in FILES[:3])
    assert held(Cache(tmp_path / "cache"), FILES) == [False] * 3 + [True] * 17


def test_a_disk_that_cannot_hold_it_is_noticed_before_anything_is_asked(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Undecided, match=r"needs 10\.5 kB for downloads, 100 B are free[\s\S]*XDG_CACHE_HOME"):
        fetch(FILES, tmp_path)
    assert web.requests == []


def test_an_interruption_is_passed_on_and_keeps_what_is_finished(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PARALLEL", 1)
    fetch(FILES[:1], tmp_path)

    def interrupt(request: Any) -> Any:
        raise KeyboardInterrupt

    def dawdle(request: Any) -> Any:
        time.sleep(0.2)
        return serve(CONTENTS[FILES[2].file])(request)

    web.put(f"{MIRROR}/{FILES[1].file}", interrupt)
    web.put(f"{MIRROR}/{FILES[2].file}", dawdle)
    web.requests.clear()
    with pytest.raises(KeyboardInterrupt):
        fetch(FILES, tmp_path)
    assert held(Cache(tmp_path / "cache"), FILES[:2]) == [True, False]
    assert len(web.requests) <= 2, "what had not begun is not begun any more"


def test_an_interruption_stops_the_downloads_that_run_and_keeps_their_parts(web: FakeWeb, tmp_path: Path) -> None:
    begun = Event()
    data = CONTENTS[FILES[1].file]

    def trickle() -> Iterator[bytes]:
        for number in range(len(data)):
            yield data[number : number + 1]
            begun.set()
            time.sleep(0.005)

    def interrupt(request: Any) -> Any:
        assert begun.wait(10)
        raise KeyboardInterrupt

    web.put(f"{MIRROR}/{FILES[0].file}", interrupt)
    web.put(f"{MIRROR}/{FILES[1].file}", stream(trickle()))
    with pytest.raises(KeyboardInterrupt):
        fetch(FILES[:2], tmp_path)
    part = Cache(tmp_path / "cache").part(FILES[1].sha256)
    assert 0 < part.stat().st_size < len(data)


def test_a_mistake_in_the_sites_configuration_stops_it(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Sources:
        raise ConfigError("bad settings")

    monkeypatch.setattr(module, "find_sources", refuse)
    with pytest.raises(ConfigError):
        fetch(FILES, tmp_path)


def test_without_a_terminal_there_is_a_line_now_and_then(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "QUIET_S", -1.0)
    fetch(FILES, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "fetch: 20 of 20 files are not in the cache (10.5 kB)"
    assert lines[-1] == "fetch: 10.5 kB of 10.5 kB"
