"""A wheel where the index has it: its size, and parts of it without the rest."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from remotezip import RemoteZip, RemoteZipError
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from scripts.errors import Undecided
from scripts.index.solve import FoundFile
from scripts.zips import DAMAGE

TIMEOUT_S = 60
# A lock asks hundreds of times: one answer that does not come must not be the end of it.
RETRIES = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)

_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")


class NoRanges(Exception):
    """Parts of a file cannot be had from where it is; all of it may be."""


def ask_size(wheel: FoundFile) -> int:
    """The file's size in bytes: asked of whoever serves it. Raises Undecided where that cannot be told."""
    if not wheel.url.startswith("http"):
        return local_path(wheel.url).stat().st_size
    try:
        with requests.Session() as session:
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
            answer = session.head(wheel.url, timeout=TIMEOUT_S, allow_redirects=True)
        answer.raise_for_status()
        return int(answer.headers["Content-Length"])
    except (requests.RequestException, KeyError, ValueError) as error:
        raise Undecided(
            f"its size could not be asked for: {error}", wheel.file, "run the same command again"
        ) from error


@contextmanager
def open_remote(url: str) -> Iterator[zipfile.ZipFile]:
    """A wheel as an archive, of which only what is read moves over the network.

    Nothing shows that the parts belong to the file that its SHA-256 names: they serve to look ahead. Raises NoRanges.
    """
    try:
        with _open(url) as archive:
            yield archive
    except (RemoteZipError, *DAMAGE) as error:  # requests' are OSErrors
        raise NoRanges(str(error)) from error


def read_requirements(wheel: FoundFile) -> list[str]:
    """What a wheel's metadata says that it needs, as it is written there; nothing where it cannot be read in parts."""
    try:
        with open_remote(wheel.url) as archive:
            [name] = [each for each in archive.namelist() if _METADATA.fullmatch(each)]
            text = archive.read(name).decode("utf-8", "replace")
    except (NoRanges, ValueError, KeyError):
        return []
    return [str(value) for value in message_from_string(text).get_all("Requires-Dist", [])]


def _open(url: str) -> zipfile.ZipFile:
    if not url.startswith("http"):
        return zipfile.ZipFile(local_path(url))
    archive: zipfile.ZipFile = RemoteZip(url, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"})
    return archive


def local_path(url: str) -> Path:
    """The path of a wheel that the solver found in a folder: a file:// address, or the path itself."""
    return Path(unquote(urlsplit(url).path))
