"""One blob as a stream: it survives dropped connections, and its last bytes come only if all of them were right."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import requests

from scripts.answers import Bounds
from scripts.files import CHUNK
from scripts.reference import Repository
from scripts.registry.failures import CHECK_NETWORK, DigestMismatch, RegistryUnavailable, naming_failures
from scripts.registry.transport import Transport

MOST_AROUND = 8  # times its bytes: an answer in chunks of one byte each


def bounds_of_blob(size: int) -> Bounds:
    """Of the answer that brings a blob of a size."""
    return Bounds(MOST_AROUND * size)


class BlobReader(io.RawIOBase):
    """Reads a blob of a known size. Raises RegistryRefused, RegistryUnavailable or DigestMismatch while reading.

    After a dropped connection it asks for what is missing; where the registry sends everything again, it passes over
    what it had. It gives up after as many attempts without a byte as the transport makes of any request.
    """

    def __init__(self, transport: Transport, repository: Repository, digest: str, size: int) -> None:
        self._transport = transport
        self._repository = repository
        self._digest = digest
        self._size = size
        self._url = f"{repository.url}/blobs/{digest}"
        self._hasher = hashlib.sha256()
        self._received = 0
        self._waiting = memoryview(b"")
        self._reply: requests.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._known = 0  # bytes at the start of this reply that were received before

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        if not self._waiting and self._received < self._size:
            self._waiting = memoryview(self._transport.retrying(self._receive))
        if not self._size:
            self._check()
        taken = min(len(buffer), len(self._waiting))
        buffer[:taken] = self._waiting[:taken]
        self._waiting = self._waiting[taken:]
        return taken

    def close(self) -> None:
        self._hang_up()
        super().close()

    def _receive(self) -> bytes:
        """The next bytes that are new; connects where there is no connection, and leaves none behind that failed."""
        if self._reply is None:
            self._connect()
        try:
            with naming_failures(f"GET {self._url}"):
                chunk = next(self._chunks, b"")
                while chunk and len(chunk) <= self._known:
                    self._known -= len(chunk)
                    chunk = next(self._chunks, b"")
            if not chunk:
                cause = f"the connection ended after {self._received} of {self._size} bytes"
                raise RegistryUnavailable(cause, f"GET {self._url}", CHECK_NETWORK)
        except BaseException:
            self._hang_up()
            raise
        chunk, self._known = chunk[self._known :], 0
        self._received += len(chunk)
        self._hasher.update(chunk)
        if self._received >= self._size:
            self._check()
        return chunk

    def _connect(self) -> None:
        start = self._received
        headers = {"Range": f"bytes={start}-"} if start else {}
        expected = (200, 206) if start else (200,)
        bounds = bounds_of_blob(self._size)
        reply = self._transport.send(
            self._repository, "GET", self._url, expected, bounds=bounds, headers=headers, stream=True
        )
        self._known = start if reply.status_code == 200 else 0
        if reply.status_code == 206 and not reply.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            reply.close()
            cause = f"the registry sent another part than the one from byte {start}"
            raise RegistryUnavailable(cause, f"GET {self._url}", CHECK_NETWORK)
        self._reply, self._chunks = reply, reply.iter_content(CHUNK)

    def _check(self) -> None:
        self._hang_up()
        found = f"sha256:{self._hasher.hexdigest()}"
        if self._received != self._size or found != self._digest:
            cause = f"the registry serves other bytes under this digest ({found}, {self._received} bytes or more)"
            raise DigestMismatch(cause, f"{self._repository}@{self._digest}")

    def _hang_up(self) -> None:
        if self._reply is not None:
            self._reply.close()
        self._reply, self._chunks = None, iter(())
