"""One file into the cache: resumed where it was interrupted, accepted by its hash and by nothing else."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from scripts.errors import Undecided
from scripts.fetch.cache import Cache
from scripts.fetch.sources import INDEXED, Sources
from scripts.files import CHUNK, naming_disk_full
from scripts.matrix.names import is_file_name
from scripts.model import LockedFile

ATTEMPTS = 5
_SIZE = re.compile(r"[0-9]{1,18}")
TIMEOUT_S = (10, 60)  # to connect, and between two reads

Advance = Callable[[int], None]  # told the number of bytes that the file now has


def take(file: LockedFile, cache: Cache, folders: Sequence[Path], advance: Advance, tried: list[str]) -> bool:
    """Bring one file into the cache from the first folder that has its bytes; `tried` is told of others of its name."""
    paths = [folder / file.file for folder in folders] if is_file_name(file.file) else []
    with cache.claim(file.sha256):
        if cache.holds(file):
            advance(file.size)
            return True
        return any(_try_path(path, file, cache, advance, tried) for path in paths if path.is_file())


def download(
    session: requests.Session, file: LockedFile, cache: Cache, sources: Sources, advance: Advance, tried: list[str]
) -> None:
    """Bring one file into the cache from an address. Raises Undecided with every place tried and what each answered.

    `tried` has what was tried before.
    """
    with cache.claim(file.sha256):
        if cache.holds(file):
            advance(file.size)
            return
        # A download that was interrupted between its last byte and its hash.
        if (
            file.size
            and _size(cache.part(file.sha256)) == file.size
            and _accept("an earlier download", file, cache, tried)
        ):
            advance(file.size)
            return
        for url in sources.urls(file):
            if _try_url(session, url, file, cache, advance, tried):
                return
    if file.kind in INDEXED and sources.index_fault:
        tried.append(f"the package index: {sources.index_fault}")
    raise Undecided(
        f"could not be fetched ({f'{file.size} bytes, ' if file.size else ''}SHA-256 {file.sha256}); tried:",
        file.file,
        "run the same command again to resume; if it is gone upstream: `nox -s lock`, or put the file into a folder "
        "named in HALLMARK_WHEELS",
        tried or ["no address and no folder is known for it"],
    )


def _try_url(
    session: requests.Session, url: str, file: LockedFile, cache: Cache, advance: Advance, tried: list[str]
) -> bool:
    part = cache.part(file.sha256)
    for attempt in range(ATTEMPTS):
        time.sleep(attempt)
        before = _size(part)
        try:
            _transfer(session, url, part, file.size, advance)
        except (requests.RequestException, ValueError) as error:  # a ValueError: a redirect that cannot be read
            answer = getattr(error, "response", None)
            if before and answer is not None and answer.status_code == requests.codes.requested_range_not_satisfiable:
                # Nothing is left to send of a file whose size nobody had said.
                if _accept(url, file, cache, tried):
                    return True
                continue
            tried.append(f"{url}: {f'HTTP {answer.status_code}' if answer is not None else _reason(error)}")
            busy = answer is not None and (answer.status_code == 429 or answer.status_code >= 500)
            # An attempt that brought bytes is worth another; a host that is not there is not.
            if not busy and _size(part) <= before:
                return False
        else:
            if _accept(url, file, cache, tried):
                return True
            if not before:
                return False
            # What was resumed may have been another source's: once more, from the first byte.
    return False


def _transfer(session: requests.Session, url: str, part: Path, size: int, advance: Advance) -> None:
    """Append to the part what it lacks of the address's bytes; a server that ignores ranges starts it over."""
    have = _size(part) if _size(part) < size or not size else 0
    # Hashes are over the bytes as published: no transparent decompression.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        answer.raise_for_status()
        have = have if answer.status_code == requests.codes.partial else 0
        said = answer.headers.get("Content-Length", "")
        rest = int(said) if _SIZE.fullmatch(said) else 0
        end = size or (have + rest if rest else 0)  # 0: nobody has said
        with naming_disk_full(part), part.open("ab" if have else "wb") as stream:
            for chunk in answer.iter_content(CHUNK):
                stream.write(chunk)
                have += len(chunk)
                advance(min(have, end or have))
                if have > end > 0:
                    return  # longer than locked: the hash will say so, and an endless answer must end
    if have < end:
        raise requests.exceptions.ChunkedEncodingError(f"ended after {have} of {end} bytes")


def _try_path(path: Path, file: LockedFile, cache: Cache, advance: Advance, tried: list[str]) -> bool:
    part = cache.part(file.sha256)
    try:
        if file.size and path.stat().st_size != file.size:  # nor is what a download has of it overwritten
            tried.append(f"{path}: expected {file.size} bytes, found {path.stat().st_size}")
            return False
        with naming_disk_full(part):
            shutil.copyfile(path, part)
    except OSError as error:
        tried.append(f"{path}: {error.strerror}")
        return False
    advance(file.size)
    return _accept(str(path), file, cache, tried)


def _accept(place: str, file: LockedFile, cache: Cache, tried: list[str]) -> bool:
    found = cache.accept(file.sha256)
    if found != file.sha256:
        tried.append(f"{place}: expected SHA-256 {file.sha256}, found {found}")
    return found == file.sha256


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, requests.exceptions.ChunkedEncodingError) else type(error).__name__
