"""An image's blobs: checked while they are read, and read two at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from threading import Lock
from typing import Protocol, TypeVar

from scripts.console import Update
from scripts.errors import Undecided
from scripts.files import format_size
from scripts.oci.descriptor import LARGEST_JSON, Descriptor, unreadable
from scripts.oci.tar import Source

_AT_A_TIME = 2  # hashing and inflating let another thread run; each holds what its visitor looks at in memory

T = TypeVar("T")


class Store(Protocol):
    """Where an image's blobs are. What it opens checks itself, and raises HallmarkError while it is read."""

    def read_manifest(self, blob: Descriptor) -> bytes: ...

    def open(self, blob: Descriptor) -> AbstractContextManager[Source]: ...


class Checked:
    """A stream that is to be the blob of a digest and size. Raises Undecided, with `place`, where it is not.

    The last bytes come only if all of them were right.
    """

    def __init__(self, stream: Source, blob: Descriptor, place: str) -> None:
        self._stream = stream
        self._blob = blob
        self._place = place
        self._left = blob.size
        self._hasher = hashlib.sha256()
        self._checked = False

    def read(self, size: int, /) -> bytes:
        if not size:
            return b""
        size = min(size, self._left + 1)  # one more shows that there are more
        data = self._stream.read(size)
        self._left -= len(data)
        self._hasher.update(data)
        if self._left < 0:
            raise self._error(f"has more than {self._blob.size} bytes")
        if self._left and len(data) < size:
            raise self._error(f"has {self._blob.size - self._left} of {self._blob.size} bytes")
        if not self._left and not self._checked:
            self._checked = True
            if f"sha256:{self._hasher.hexdigest()}" != self._blob.digest:
                raise self._error(f"hashes to sha256:{self._hasher.hexdigest()}")
        return data

    def _error(self, cause: str) -> Undecided:
        return Undecided(f"blob {self._blob.digest} {cause}", self._place, "build or pull the image again")


def read_json_blob(store: Store, blob: Descriptor, place: str) -> bytes:
    """All bytes of a small blob."""
    if blob.size > LARGEST_JSON:
        raise unreadable(f"{blob.digest} of {blob.size} bytes, where a small JSON file belongs", place)
    with store.open(blob) as stream:
        data = b""
        while chunk := stream.read(LARGEST_JSON):
            data += chunk
        return data


def read_blobs(
    blobs: Sequence[Descriptor], store: Store, read: Callable[[Descriptor, Source], T], update: Update
) -> dict[str, T]:
    """What `read` makes of each distinct blob, by digest. The first failure is raised, and stops the others."""
    distinct = {blob.digest: blob for blob in blobs}
    progress = _Progress(list(distinct.values()), update)

    def visit(blob: Descriptor) -> T:
        with store.open(blob) as stream:
            found = read(blob, _Counted(stream, progress))
        progress.end_layer()
        return found

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        try:
            futures = {digest: pool.submit(visit, blob) for digest, blob in distinct.items()}
            ended, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
            return {digest: future.result() for digest, future in futures.items()}
        except BaseException:
            progress.stopped = True  # gigabytes of other layers are of no use any more
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Progress:
    """How far the layers are, told as it changes; and whether anybody still wants them."""

    def __init__(self, blobs: Sequence[Descriptor], update: Update) -> None:
        self.stopped = False
        self._update = update
        self._lock = Lock()
        self._size = sum(blob.size for blob in blobs)
        self._count = len(blobs)
        self._read = self._ended = 0

    def add(self, size: int) -> None:
        with self._lock:
            self._read += size
            self._tell()

    def end_layer(self) -> None:
        with self._lock:
            self._ended += 1
            self._tell()

    def _tell(self) -> None:
        number = min(self._ended + 1, self._count)
        self._update(f"layer {number} of {self._count}, {format_size(self._read)} of {format_size(self._size)} read")


class _Counted:
    def __init__(self, stream: Source, progress: _Progress) -> None:
        self._stream = stream
        self._progress = progress

    def read(self, size: int, /) -> bytes:
        if self._progress.stopped:
            raise Undecided("stopped", "a layer", "another layer could not be read: see what is said of that")
        data = self._stream.read(size)
        if data:
            self._progress.add(len(data))
        return data
