"""An image's blobs: checked while they are read, and layers read two at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from threading import Lock
from typing import Protocol

from scripts.audit.archive import Source
from scripts.audit.layers import Layer, scan_layer
from scripts.audit.library import Library
from scripts.audit.manifest import LARGEST_JSON, Manifest, check_config, find_manifest, unreadable
from scripts.audit.merge import merge_layers
from scripts.build.layout import Blob
from scripts.errors import Undecided
from scripts.files import format_size

_AT_A_TIME = 2  # hashing and inflating let another thread run; each holds a library in memory


class Store(Protocol):
    """Where an image's blobs are. What it opens checks itself, and raises HallmarkError while it is read."""

    def read_manifest(self, blob: Blob) -> bytes: ...

    def open(self, blob: Blob) -> AbstractContextManager[Source]: ...


class Checked:
    """A stream that is to be the blob of a digest and size. Raises Undecided, with `place`, where it is not.

    The last bytes come only if all of them were right.
    """

    def __init__(self, stream: Source, blob: Blob, place: str) -> None:
        self._stream = stream
        self._blob = blob
        self._place = place
        self._left = blob.size
        self._hasher = hashlib.sha256()
        self._checked = False

    def read(self, size: int, /) -> bytes:
        if not size:
            return b""
        data = self._stream.read(min(size, self._left + 1))  # one more shows that there are more
        self._left -= len(data)
        self._hasher.update(data)
        if self._left < 0:
            raise self._error(f"has more than {self._blob.size} bytes")
        if self._left and not data:
            raise self._error(f"has {self._blob.size - self._left} of {self._blob.size} bytes")
        if not self._left and not self._checked:
            self._checked = True
            if f"sha256:{self._hasher.hexdigest()}" != self._blob.digest:
                raise self._error(f"hashes to sha256:{self._hasher.hexdigest()}")
        return data

    def _error(self, cause: str) -> Undecided:
        return Undecided(f"blob {self._blob.digest} {cause}", self._place, "build or pull the image again")


def read_image(
    data: bytes, digest: str, store: Store, place: str, update: Callable[[str], None], *, is_layout: bool = False
) -> tuple[Manifest, list[Library]]:
    """The image under a manifest or an index, of which `data` are the bytes, and its libraries.

    Raises Undecided, with `place`, or what the store raises.
    """
    manifest = find_manifest(data, digest, store.read_manifest, place, is_layout=is_layout)
    check_config(read_json_blob(store, manifest.config, place), place)
    layers = _scan_layers(manifest.layers, store, place, update)
    return manifest, merge_layers(layers, place)


def read_json_blob(store: Store, blob: Blob, place: str) -> bytes:
    """All bytes of a small blob."""
    if blob.size > LARGEST_JSON:
        raise unreadable(f"{blob.digest} of {blob.size} bytes, where a small JSON file belongs", place)
    with store.open(blob) as stream:
        data = b""
        while chunk := stream.read(LARGEST_JSON):
            data += chunk
        return data


def _scan_layers(blobs: Sequence[Blob], store: Store, place: str, update: Callable[[str], None]) -> list[Layer]:
    """The layers in their order; each distinct blob is read once."""
    distinct = {blob.digest: blob for blob in blobs}
    progress = _Progress(list(distinct.values()), update)

    def scan(blob: Blob) -> Layer:
        with store.open(blob) as stream:
            layer = scan_layer(_Counted(stream, progress), f"{place}, layer {blob.digest}")
        progress.end_layer()
        return layer

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        try:
            futures = {digest: pool.submit(scan, blob) for digest, blob in distinct.items()}
            ended, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
            return [futures[blob.digest].result() for blob in blobs]
        except BaseException:
            progress.stopped = True  # gigabytes of other layers are of no use any more
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Progress:
    """How far the layers are, told as it changes; and whether anybody still wants them."""

    def __init__(self, blobs: Sequence[Blob], update: Callable[[str], None]) -> None:
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
            raise Undecided("stopped, for another layer could not be read")
        data = self._stream.read(size)
        if data:
            self._progress.add(len(data))
        return data
