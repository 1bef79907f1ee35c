"""Whatever a host does, a file in the cache has the locked bytes, and an error names every place that was tried."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.errors import ExitCode, Undecided
from scripts.fetch import Cache
from scripts.fetch.download import ATTEMPTS, download, take
from scripts.fetch.sources import Sources
from scripts.files import CHUNK
from scripts.model import LockedFile
from tests.unit.builders import lock_bytes, put_in_cache, sha256

from .fake_web import FakeWeb, pieces, refuse, serve, status, stream

DATA = bytes(range(256)) * 4
FILE = lock_bytes(DATA, file="thing-1.0-py3-none-any.whl")
ONE, TWO = "https://one.invalid", "https://two.invalid"
FIRST, SECOND = f"{ONE}/{FILE.file}", f"{TWO}/{FILE.file}"


class Site:
    """A cache, a web, and where to look; `advanced` are the numbers of bytes that were reported."""

    def __init__(self, root: Path) -> None:
        self.cache = Cache(root / "cache")
        self.web = FakeWeb()
        self.advanced: list[int] = []

    def download(self, *mirrors: str, file: LockedFile = FILE, folders: tuple[Path, ...] = (), **sources: Any) -> None:
        known, tried = Sources(mirrors=mirrors, **sources), list[str]()
        with self.web.session() as session:
            if not take(file, self.cache, folders, self.advanced.append, tried):
                download(session, file, self.cache, known, self.advanced.append, tried)

    def fail(self, *mirrors: str, **sources: Any) -> str:
        with pytest.raises(Undecided) as caught:
            self.download(*mirrors, **sources)
        assert caught.value.exit_code is ExitCode.INCONCLUSIVE
        assert not self.cache.path(FILE.sha256).exists(), "nothing may stand under the final name"
        return str(caught.value)

    @property
    def part(self) -> Path:
        return self.cache.part(FILE.sha256)

    def start_part(self, data: bytes) -> None:
        with self.cache.claim(FILE.sha256):
            self.part.write_bytes(data)

    def assert_complete(self) -> None:
        assert self.cache.path(FILE.sha256).read_bytes() == DATA
        assert not self.part.exists()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def test_a_file_is_downloaded(site: Site) -> None:
    site.web.put(FIRST, serve(DATA))
    site.download(ONE)
    site.assert_complete()
    assert site.advanced[-1] == len(DATA)


def test_a_file_that_is_there_is_not_asked_for(site: Site) -> None:
    put_in_cache(site.cache, DATA)
    site.download(ONE)
    assert site.web.requests == [] and site.advanced == [len(DATA)]


def test_a_damaged_file_in_the_cache_is_fetched_again(site: Site) -> None:
    put_in_cache(site.cache, DATA).write_bytes(DATA[:-1])
    site.web.put(FIRST, serve(DATA))
    site.download(ONE)
    site.assert_complete()


# --- interrupted, and resumed


def test_an_interrupted_download_leaves_a_part_that_the_next_run_resumes(site: Site) -> None:
    site.web.put(FIRST, pieces(DATA[:300], KeyboardInterrupt()), serve(DATA))
    with pytest.raises(KeyboardInterrupt):
        site.download(ONE)
    assert site.part.read_bytes() == DATA[:300] and not site.cache.path(FILE.sha256).exists()
    site.download(ONE)
    site.assert_complete()
    assert site.web.asked(FIRST) == ["", "bytes=300-"]


def test_a_server_that_ignores_ranges_starts_the_part_over(site: Site) -> None:
    site.start_part(b"x" * 300)
    site.web.put(FIRST, serve(DATA, ranges=False))
    site.download(ONE)
    site.assert_complete()
    assert site.web.asked(FIRST) == ["bytes=300-"]


@pytest.mark.parametrize("size", [len(DATA), len(DATA) + 1])
def test_a_part_that_is_long_enough_but_was_never_accepted_is_no_obstacle(size: int, site: Site) -> None:
    site.start_part((DATA + b"!")[:size])
    site.web.put(FIRST, serve(DATA))
    site.download(ONE)
    site.assert_complete()


def test_a_part_with_its_last_byte_is_hashed_and_not_downloaded_again(site: Site) -> None:
    site.start_part(DATA)
    site.download(ONE)
    site.assert_complete()
    assert site.web.requests == [] and site.advanced == [len(DATA)]


def test_a_connection_that_breaks_is_taken_up_again_where_it_broke(site: Site, slept: list[float]) -> None:
    broken = requests.exceptions.ChunkedEncodingError("broken")
    site.web.put(FIRST, pieces(DATA[:100], broken), pieces(DATA[100:200], broken, code=206), serve(DATA))
    site.download(ONE)
    site.assert_complete()
    assert site.web.asked(FIRST) == ["", "bytes=100-", "bytes=200-"]
    assert slept == [0, 1, 2], "later attempts wait longer"


def test_an_answer_that_ends_early_is_resumed(site: Site) -> None:
    site.web.put(FIRST, pieces(DATA[:-1]), serve(DATA))
    site.download(ONE)
    site.assert_complete()


def test_an_answer_that_always_ends_early_is_given_up_and_its_part_kept(site: Site) -> None:
    site.web.put(FIRST, pieces(DATA[:10]))
    assert f"{FIRST}: ended after 10 of {len(DATA)} bytes" in site.fail(ONE)
    assert len(site.web.requests) == 2, "an attempt that brings no new bytes is the last"
    assert site.part.read_bytes() == DATA[:10]


def test_bytes_that_trickle_in_are_not_waited_for_forever(site: Site) -> None:
    site.web.put(FIRST, *(pieces(DATA[n : n + 1], code=206 if n else 200) for n in range(50)))
    site.fail(ONE)
    assert len(site.web.requests) == ATTEMPTS


# --- wrong answers


def test_wrong_bytes_are_named_with_both_hashes_and_leave_nothing(site: Site) -> None:
    wrong = DATA[::-1]
    site.web.put(FIRST, serve(wrong))
    text = site.fail(ONE)
    assert text.startswith(f"{FILE.file}: could not be fetched")
    assert f"{FIRST}: expected SHA-256 {FILE.sha256}, found {sha256(wrong)}" in text
    assert "next:" in text
    assert not site.part.exists() and len(site.web.requests) == 1


def test_wrong_bytes_from_one_place_are_fetched_from_the_next(site: Site) -> None:
    site.web.put(FIRST, serve(DATA[::-1]))
    site.web.put(SECOND, serve(DATA))
    site.download(ONE, TWO)
    site.assert_complete()


def test_a_short_page_from_one_place_does_not_spoil_the_next(site: Site) -> None:
    page = b"<html>log in</html>"
    site.web.put(FIRST, pieces(page))
    site.web.put(SECOND, serve(DATA))
    site.download(ONE, TWO)
    site.assert_complete()
    assert site.web.asked(SECOND) == [f"bytes={len(page)}-", ""], "resumed in vain, then from the first byte"


def test_an_endless_answer_ends(site: Site) -> None:
    given: list[int] = []

    def forever() -> Iterator[bytes | BaseException]:
        while len(given) < 100:
            given.append(1)
            yield b"x" * CHUNK

    site.web.put(FIRST, stream(forever()))
    assert "expected SHA-256" in site.fail(ONE)
    assert len(given) == 1 and not site.part.exists()


@pytest.mark.parametrize("code", [401, 403, 404, 410, 416])
def test_a_place_that_says_no_is_asked_once_and_the_next_is_tried(code: int, site: Site) -> None:
    site.web.put(FIRST, status(code))
    site.web.put(SECOND, serve(DATA))
    site.download(ONE, TWO)
    site.assert_complete()
    assert [str(request.url) for request in site.web.requests] == [FIRST, SECOND]


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_a_place_that_is_busy_is_asked_again(code: int, site: Site) -> None:
    site.web.put(FIRST, status(code), status(code), serve(DATA))
    site.download(ONE)
    site.assert_complete()
    assert len(site.web.requests) == 3


def test_a_place_that_stays_busy_is_given_up(site: Site) -> None:
    site.web.put(FIRST, status(503))
    assert site.fail(ONE).count(f"{FIRST}: HTTP 503") == ATTEMPTS


@pytest.mark.parametrize("error", [requests.ConnectionError, requests.ReadTimeout, requests.exceptions.SSLError])
def test_a_host_that_is_not_there_is_asked_once(error: type[requests.RequestException], site: Site) -> None:
    site.web.put(FIRST, refuse(error))
    site.web.put(SECOND, serve(DATA))
    site.download(ONE, TWO)
    site.assert_complete()
    assert len(site.web.asked(FIRST)) == 1


def test_every_place_is_named_with_what_it_answered(site: Site, tmp_path: Path) -> None:
    other = bytes(len(DATA))
    for name, data in (("old", b"old"), ("other", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE.file).write_bytes(data)
    site.web.put(FIRST, refuse())
    site.web.put(SECOND, status(404))
    text = site.fail(ONE, TWO, folders=(tmp_path / "old", tmp_path / "other"), index_fault="no index")
    folders = [
        f"{tmp_path / 'old' / FILE.file}: expected {len(DATA)} bytes, found 3",
        f"{tmp_path / 'other' / FILE.file}: expected SHA-256 {FILE.sha256}, found {sha256(other)}",
    ]
    places = [*folders, f"{FIRST}: ConnectionError", f"{SECOND}: HTTP 404", "the package index: no index"]
    assert [line.strip() for line in text.splitlines()[1:-1]] == places


def test_a_file_that_nobody_is_known_to_have_says_so(site: Site) -> None:
    text = site.fail()
    assert "no address and no folder is known for it" in text and "HALLMARK_WHEELS" in text


# --- folders


def test_what_a_local_folder_has_is_taken_from_there(site: Site, tmp_path: Path) -> None:
    (tmp_path / FILE.file).write_bytes(DATA)
    site.download(ONE, folders=(tmp_path,))
    site.assert_complete()
    assert site.web.requests == [] and site.advanced == [len(DATA)]
    assert (tmp_path / FILE.file).read_bytes() == DATA, "the folder's own file stays"


def test_a_file_of_another_size_does_not_cost_what_was_downloaded(site: Site, tmp_path: Path) -> None:
    (tmp_path / FILE.file).write_bytes(b"old")
    site.start_part(DATA[:100])
    site.web.put(FIRST, serve(DATA))
    site.download(ONE, folders=(tmp_path,))
    site.assert_complete()
    assert site.web.asked(FIRST) == ["bytes=100-"]


def test_no_name_leads_out_of_a_folder(site: Site, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / FILE.file).write_bytes(DATA)
    file = replace(FILE, file=f"../{FILE.file}")
    assert not take(file, site.cache, (tmp_path / "folder",), site.advanced.append, [])


def test_what_another_run_has_brought_meanwhile_is_there(site: Site, tmp_path: Path) -> None:
    put_in_cache(site.cache, DATA)
    assert take(FILE, site.cache, (), site.advanced.append, []) and site.advanced == [len(DATA)]


def test_a_folder_with_other_bytes_is_passed_over(site: Site, tmp_path: Path) -> None:
    for name, data in (("old", b"old"), ("right", DATA)):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE.file).write_bytes(data)
    site.download(folders=(tmp_path / "old", tmp_path / "right"))
    site.assert_complete()


def test_a_folder_that_cannot_be_read_is_named_and_passed_over(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE.file).write_bytes(DATA)

    def refuse_to_copy(source: Path, destination: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "copyfile", refuse_to_copy)
    assert f"{tmp_path / FILE.file}: Permission denied" in site.fail(folders=(tmp_path,))


# --- the disk


def test_a_full_disk_is_named_with_the_place_and_what_is_left(site: Site) -> None:
    with site.cache.claim(FILE.sha256):
        site.part.symlink_to("/dev/full")  # takes no byte, like a file system without space
    site.web.put(FIRST, serve(DATA))
    text = site.fail(ONE)
    assert text.startswith(f"{site.part.parent}: the disk is full") and "left)" in text and "next: free some" in text


def test_a_full_disk_while_copying_from_a_folder(site: Site, tmp_path: Path) -> None:
    (tmp_path / FILE.file).write_bytes(DATA)
    with site.cache.claim(FILE.sha256):
        site.part.symlink_to("/dev/full")
    assert "the disk is full" in site.fail(folders=(tmp_path,))


# --- a size that nobody had said: the hash decides alone

UNSIZED = replace(FILE, kind="archive", size=0)


def test_a_file_of_unknown_size_is_gone_on_with(site: Site) -> None:
    site.start_part(DATA[:100])
    site.web.put(FIRST, serve(DATA))
    site.download(ONE, file=UNSIZED)
    site.assert_complete()
    assert site.web.asked(FIRST) == ["bytes=100-"]
    site.download(ONE, file=UNSIZED)
    assert len(site.web.requests) == 1, "it is here"


def test_a_whole_part_of_unknown_size_is_taken_when_nothing_is_left_to_send(site: Site) -> None:
    site.start_part(DATA)
    site.web.put(FIRST, serve(DATA))
    site.download(ONE, file=UNSIZED)
    site.assert_complete()


def test_a_wrong_part_of_unknown_size_is_begun_anew(site: Site) -> None:
    site.start_part(DATA[::-1])
    site.web.put(FIRST, serve(DATA))
    site.download(ONE, file=UNSIZED)
    site.assert_complete()
    assert site.web.asked(FIRST) == [f"bytes={len(DATA)}-", ""]


def test_other_bytes_of_unknown_size_are_refused(site: Site) -> None:
    site.web.put(FIRST, serve(DATA[::-1]))
    said = site.fail(ONE, file=UNSIZED)
    assert f"could not be fetched (SHA-256 {FILE.sha256})" in said
    assert f"expected SHA-256 {FILE.sha256}, found {sha256(DATA[::-1])}" in said


@pytest.mark.parametrize("length", ["many", "-5", "٣", "9" * 5000])
def test_a_length_that_is_none_is_not_known(length: str, tmp_path: Path) -> None:
    site = Site(tmp_path)

    def answer(request: requests.PreparedRequest) -> requests.Response:
        response = serve(DATA)(request)
        response.headers["Content-Length"] = length
        return response

    site.web.put(FIRST, answer)
    site.download(ONE)
    site.assert_complete()


def test_a_redirect_that_cannot_be_read_is_a_place_that_was_tried(tmp_path: Path) -> None:
    site = Site(tmp_path)

    def answer(request: requests.PreparedRequest) -> requests.Response:
        response = status(302)(request)
        response.headers["Location"] = "caf\xe9"  # no UTF-8
        return response

    site.web.put(FIRST, answer)
    assert FIRST in site.fail(ONE)
