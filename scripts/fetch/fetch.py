"""Fetching many files at once, with a bar for each and one in all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock

import requests
from requests.adapters import HTTPAdapter
from rich.progress import Progress, TaskID

from scripts.console import make_transfer_progress, note
from scripts.errors import HallmarkError, Problem, Undecided
from scripts.fetch.cache import Cache
from scripts.fetch.download import download, take
from scripts.fetch.sources import Sources, find_settings, find_sources
from scripts.files import format_size, free_bytes
from scripts.matrix import Platform
from scripts.model import LockedFile
from scripts.site import Site

PARALLEL = 8
QUIET_S = 15.0  # without a terminal, a line this often


def fetch_files(files: Sequence[LockedFile], site: Site, platform: Platform) -> Cache:
    """Bring every file into the site's cache. Raises Undecided with all that failed, once the others are in."""
    cache = Cache(site.cache)
    missing = list({file.sha256: file for file in files if not cache.holds(file)}.values())
    if not missing:
        return cache
    total = sum(file.size for file in missing)
    note(f"fetch: {len(missing)} of {len(files)} files are not in the cache ({format_size(total)})")
    if (free := free_bytes(cache.root)) < total:
        raise Undecided(
            f"needs {format_size(total)} for downloads, {format_size(free)} are free",
            str(cache.root),
            "free some space, or point XDG_CACHE_HOME at a larger disk",
        )
    pip = find_settings(missing)
    folders = (*site.wheels, *pip.folders)
    tried: dict[str, list[str]] = {file.sha256: [] for file in missing}
    problems: list[Problem] = []
    with make_transfer_progress() as bars, requests.Session() as session, ThreadPoolExecutor(PARALLEL) as pool:
        session.mount("https://", HTTPAdapter(pool_maxsize=PARALLEL))
        session.mount("http://", HTTPAdapter(pool_maxsize=PARALLEL))
        board = _Board(bars, missing)

        def look(file: LockedFile) -> bool:
            return take(file, cache, folders, board.follow(file), tried[file.sha256])

        try:
            # What a folder has is not asked of the network, which may be slow to say that it is not there.
            left = [file for file, taken in zip(missing, pool.map(look, missing), strict=True) if not taken]
            sources = find_sources(site, platform, left, pip) if left else Sources()
            jobs = [
                pool.submit(download, session, file, cache, sources, board.follow(file), tried[file.sha256])
                for file in left
            ]
            for job in as_completed(jobs):
                if (error := job.exception()) is not None:
                    if not isinstance(error, HallmarkError):
                        raise error
                    problems += error.problems
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            board.stop()
            raise
    if problems:
        raise Undecided(problems)
    return cache


class _Board:
    """The bars: one in all, and one for each file that is moving."""

    def __init__(self, bars: Progress, files: Sequence[LockedFile]) -> None:
        self._bars = bars
        self._have = dict.fromkeys((file.sha256 for file in files), 0)
        self._total = sum(file.size for file in files)
        self._all: TaskID = bars.add_task(f"{len(files)} files", total=self._total)
        self._guard = Lock()
        self._stopped = False
        self._spoke = time.monotonic()

    def stop(self) -> None:
        """Let every download that still runs end at its next block, and be resumed another time."""
        self._stopped = True

    def follow(self, file: LockedFile) -> _Follower:
        return _Follower(self, self._bars, file)

    def advance(self, file: LockedFile, have: int) -> None:
        if self._stopped:
            raise Undecided("stopped", file.file, "run the same command again to resume")
        with self._guard:
            self._have[file.sha256] = have
            done = sum(self._have.values())
            self._bars.update(self._all, completed=done)
            if self._bars.disable and time.monotonic() - self._spoke > QUIET_S:
                self._spoke = time.monotonic()
                note(f"fetch: {format_size(done)} of {format_size(self._total)}")


class _Follower:
    """What a download tells how many bytes it has; its bar appears with the first and goes with the last."""

    def __init__(self, board: _Board, bars: Progress, file: LockedFile) -> None:
        self._board, self._bars, self._file = board, bars, file
        self._bar: TaskID | None = None

    def __call__(self, have: int) -> None:
        if self._bar is None:
            self._bar = self._bars.add_task(self._file.name, total=self._file.size)
        self._bars.update(self._bar, completed=have, visible=have < self._file.size)
        self._board.advance(self._file, have)
