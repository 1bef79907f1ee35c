from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.errors import Undecided
from scripts.index.files import NoRanges, ask_size, open_remote, read_requirements
from scripts.index.solve import FoundFile

URL = "https://index.invalid/files/thing-1.0-py3-none-any.whl"
WHEEL = FoundFile("thing", "1.0", "thing-1.0-py3-none-any.whl", "a" * 64, URL, 0)


# --- sizes


def answer_head(monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str]) -> None:
    def head(_: requests.Session, url: str, **__: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url = status, url
        response.headers.update(headers)
        return response

    monkeypatch.setattr(requests.Session, "head", head)


def test_the_size_is_what_the_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_head(monkeypatch, 200, {"Content-Length": "123"})
    assert ask_size(WHEEL) == 123


def test_a_wheel_in_a_folder_is_measured_there(tmp_path: Path) -> None:
    (tmp_path / "thing+1.whl").write_bytes(b"12345")
    found = FoundFile("thing", "1", "thing+1.whl", "a" * 64, f"file://{tmp_path}/thing%2B1.whl", 0)
    assert ask_size(found) == 5


@pytest.mark.parametrize(("status", "headers"), [(404, {}), (503, {}), (200, {}), (200, {"Content-Length": "many"})])
def test_a_size_that_nobody_tells_leaves_it_open(
    status: int, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_head(monkeypatch, status, headers)
    with pytest.raises(Undecided, match=r"thing-1\.0-py3-none-any\.whl: its size could not be asked for"):
        ask_size(WHEEL)


# --- parts


def make_archive() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("big.so", b"\0" * 1_000_000)
        archive.writestr("thing-1.0.dist-info/RECORD", "big.so,,\n")
    return data.getvalue()


class Server:
    """Stands in for `requests.get`: serves ranges of one file, or ignores them; counts the bytes that it sent."""

    def __init__(self, data: bytes, monkeypatch: pytest.MonkeyPatch, *, ranges: bool = True, status: int = 206) -> None:
        self.data, self.ranges, self.status = data, ranges, status
        self.sent = 0
        monkeypatch.setattr(requests, "get", self.get)

    def get(self, url: str, headers: dict[str, str], timeout: float, **_: Any) -> requests.Response:
        assert timeout, "every request has a time limit"
        assert headers["Accept-Encoding"] == "identity"
        response = requests.Response()
        response.status_code, response.url = self.status, url
        part = self.data
        if self.ranges:
            first, last = headers["Range"].removeprefix("bytes=").rsplit("-", 1)
            start = int(first) if first else max(0, len(self.data) - int(last))
            part = self.data[start : int(last) + 1] if first else self.data[start:]
            response.headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(self.data)}"
        self.sent += len(part)
        response.raw = io.BytesIO(part)
        return response


def test_only_what_is_read_moves_over_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(make_archive(), monkeypatch)
    with open_remote(URL) as archive:
        assert archive.read("thing-1.0.dist-info/RECORD") == b"big.so,,\n"
    assert 0 < server.sent < 200_000


def test_a_wheel_in_a_folder_is_opened_there(tmp_path: Path) -> None:
    (tmp_path / "thing+1.whl").write_bytes(make_archive())
    with open_remote(f"file://{tmp_path}/thing%2B1.whl") as archive:
        assert len(archive.namelist()) == 2


@pytest.mark.parametrize(
    ("data", "ranges", "status"),
    [(make_archive(), False, 200), (make_archive(), True, 404), (b"<html>" * 50_000, True, 206), (b"", True, 206)],
)
def test_a_site_from_which_parts_cannot_be_had_says_so(
    data: bytes, ranges: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server(data, monkeypatch, ranges=ranges, status=status)
    with pytest.raises(NoRanges), open_remote(URL):
        pass


def test_a_connection_that_breaks_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(make_archive(), monkeypatch)
    with pytest.raises(NoRanges), open_remote(URL) as archive:
        server.status = 503
        archive.read("big.so")


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoRanges), open_remote(f"file://{tmp_path}/none.whl"):
        pass


@pytest.mark.parametrize(("place", "value"), [(8, 1), (10, 9), (42, 0x7F)])  # encrypted, packed otherwise, elsewhere
def test_a_wheel_in_a_folder_that_is_damaged_needs_nothing(place: int, value: int, tmp_path: Path) -> None:
    data = bytearray(make_archive())
    for start in [match.start() for match in re.finditer(rb"PK\x01\x02", data)]:
        data[start + place] = value
    for start in [match.start() for match in re.finditer(rb"PK\x03\x04", data)]:
        data[start + place - 2] = value if place < 42 else data[start + place - 2]
    path = tmp_path / "thing.whl"
    path.write_bytes(data)
    assert read_requirements(FoundFile("thing", "1.0", "thing.whl", "", path.as_uri(), 0)) == []
