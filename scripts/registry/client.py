"""A client of the OCI distribution API, as much of it as publishing needs; it works on bytes and hashes what it reads.

Every method is idempotent and is repeated a few times while the registry is unavailable. All raise RegistryRefused,
RegistryUnavailable or DigestMismatch (exit 3).
API: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import requests

from scripts.files import CHUNK
from scripts.oci.descriptor import LARGEST_JSON, OCI_INDEX, OCI_MANIFEST, digest_of, parse_object
from scripts.reference import Repository
from scripts.registry.blobs import BlobReader, bounds_of_blob
from scripts.registry.failures import ASK_OWNER, DigestMismatch, RegistryRefused, naming_failures, public
from scripts.registry.transport import Transport

# A registry may convert what a client does not accept, and with it the digest: accept everything that a tag can hold.
_MANIFEST_TYPES = (
    OCI_MANIFEST,
    OCI_INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

_NO_REFERRERS = (400, 404, 405, 501)  # what registries from before this API answer
MOST_PAGES = 20
_TAGS = 1000  # asked for at once; a registry may give fewer
_SIZE = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Manifest:
    """A manifest's own bytes, and the media type that they are served under."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return digest_of(self.data)


class Registry:
    """Registries, each reached through the repositories on it."""

    def __init__(self, transport: Transport | None = None) -> None:
        self._transport = transport or Transport()

    def ping(self, repository: Repository) -> None:
        """Return where the registry answers, speaks this API and lets us in."""
        self._transport.retrying(lambda: self._transport.send(repository, "GET", repository.root, (200,)))

    def read_clock(self, repository: Repository) -> float | None:
        """What time the registry says that it is, in seconds since 1970 (UTC); None where it does not say."""
        ask = partial(self._transport.send, repository, "GET", repository.root, (200,))
        try:
            return parsedate_to_datetime(self._transport.retrying(ask).headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return None

    def blob_size(self, repository: Repository, digest: str) -> int | None:
        """The size in bytes of a blob that is there (-1: the registry does not say), or None where there is none."""
        return self._transport.retrying(lambda: self._blob_size(repository, digest))

    def has_blob(self, repository: Repository, digest: str, size: int) -> bool:
        """Whether a blob of that digest and size is there; where the registry does not say the size, its bytes tell.

        It need not say it, and says 0 where it means its answer, which has no body.
        """
        return self._transport.retrying(lambda: self._has_blob(repository, digest, size))

    def hash_blob(self, repository: Repository, digest: str, size: int) -> str:
        """The digest of the bytes that the registry really serves for a blob of a size. Transfers the whole blob."""
        return self._transport.retrying(lambda: self._hash_blob(repository, digest, size))

    def open_blob(self, repository: Repository, digest: str, size: int) -> io.BufferedReader:
        """A blob of `size` bytes as a stream, which goes on after dropped connections and is hashed as it passes.

        Reading raises DigestMismatch where the bytes turn out to be others, before it hands out the last of them.
        """
        return io.BufferedReader(BlobReader(self._transport, repository, digest, size), CHUNK)

    def upload_blob(self, repository: Repository, digest: str, source: Path | bytes) -> None:
        """Send a file's bytes, or some bytes, unless a blob of that digest and size is there."""
        self._transport.retrying(lambda: self._upload_blob(repository, digest, source))

    def get_manifest(self, repository: Repository, reference: str) -> Manifest | None:
        """The manifest under a digest or a tag, or None. Raises DigestMismatch where a digest names other bytes."""
        headers = {"Accept": ", ".join(_MANIFEST_TYPES)}
        url = f"{repository.url}/manifests/{reference}"
        reply, data = self._transport.retrying(lambda: self._get_small(repository, url, (200, 404), headers))
        if reply.status_code == 404:
            return None
        manifest = Manifest(data, _media_type(reply))
        if ":" in reference:
            _expect(reference, manifest.digest, repository, "the registry serves other bytes under this digest")
        return manifest

    def list_referrers(self, repository: Repository, digest: str) -> list[bytes] | None:
        """The index of what names a manifest as its subject, a page at a time; None where there is no such API."""
        pages: list[bytes] = []
        url = f"{repository.url}/referrers/{digest}"
        for reply, data in self._pages(repository, url, (200, *_NO_REFERRERS), {"Accept": OCI_INDEX}):
            if reply.status_code != 200 or _media_type(reply) != OCI_INDEX:  # a page for people is no API, either
                return None
            pages.append(data)
        return pages

    def list_tags(self, repository: Repository) -> list[str]:
        """The names of all tags; none where there is no such repository yet. Raises RegistryRefused for no list."""
        found: list[str] = []
        url = f"{repository.url}/tags/list"
        for reply, data in self._pages(repository, f"{url}?n={_TAGS}", (200, 404), {}):
            if reply.status_code == 404:
                return []
            try:
                names = parse_object(data)["tags"]
            except (ValueError, KeyError):
                names = ""
            if names is not None and not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
                raise RegistryRefused("its list of tags is none", f"GET {url}", ASK_OWNER)
            found += names or []
        return found

    def delete_manifest(self, repository: Repository, digest: str) -> bool:
        """Remove a manifest by its digest; one that is gone already is fine. False where the registry deletes nothing.

        Registries take the tags that name it along.
        """
        url = f"{repository.url}/manifests/{digest}"
        reply = self._transport.retrying(lambda: self._transport.send(repository, "DELETE", url, (202, 400, 404, 405)))
        return reply.status_code in (202, 404)

    def put_manifest(self, repository: Repository, reference: str, manifest: Manifest) -> str:
        """Write a manifest's bytes under a digest or a tag; the subject that the registry took note of, or `""`."""
        headers = {"Content-Type": manifest.media_type}
        url = f"{repository.url}/manifests/{reference}"
        reply = self._transport.retrying(
            lambda: self._transport.send(repository, "PUT", url, (201,), body=manifest.data, headers=headers)
        )
        _expect_answer(manifest.digest, reply, repository)
        return reply.headers.get("OCI-Subject", "")

    def delete_tag(self, repository: Repository, tag: str) -> bool:
        """Remove a tag and leave its manifest; False where the registry has no such thing (many do not)."""
        url = f"{repository.url}/manifests/{tag}"
        reply = self._transport.retrying(lambda: self._transport.send(repository, "DELETE", url, (202, 400, 404, 405)))
        return reply.status_code == 202

    def _pages(
        self, repository: Repository, url: str, expected: tuple[int, ...], headers: dict[str, str]
    ) -> Iterator[tuple[requests.Response, bytes]]:
        """A list's pages. Raises RegistryRefused where it has more of them than anybody has reason to fill."""
        for _ in range(MOST_PAGES):
            reply, data = self._transport.retrying(partial(self._get_small, repository, url, expected, headers))
            yield reply, data
            following = reply.links.get("next", {}).get("url")
            if not following:
                return
            try:
                url = urljoin(url, following)
            except ValueError:
                cause = "the registry names an address for the next page that cannot be read"
                raise RegistryRefused(cause, f"GET {public(url)}", ASK_OWNER) from None
        raise RegistryRefused(f"the list has more than {MOST_PAGES} pages", f"GET {public(url)}", ASK_OWNER)

    def _get_small(
        self, repository: Repository, url: str, expected: tuple[int, ...], headers: dict[str, str]
    ) -> tuple[requests.Response, bytes]:
        """A reply and its body. Raises RegistryRefused for one that is larger than any manifest."""
        place = f"GET {public(url)}"
        reply = self._transport.send(repository, "GET", url, expected, headers=headers, stream=True)
        with reply, naming_failures(place):
            data = bytearray()
            for chunk in reply.iter_content(CHUNK):
                data += chunk
                if len(data) > LARGEST_JSON:
                    cause = f"more than {LARGEST_JSON} bytes, where a manifest belongs"
                    raise RegistryRefused(cause, place, ASK_OWNER)
        return reply, bytes(data)

    def _blob_size(self, repository: Repository, digest: str) -> int | None:
        url = f"{repository.url}/blobs/{digest}"
        reply = self._transport.send(repository, "HEAD", url, (200, 404))
        if reply.status_code != 200:
            return None
        size = reply.headers.get("Content-Length", "")
        return int(size) if _SIZE.fullmatch(size) else -1

    def _has_blob(self, repository: Repository, digest: str, size: int) -> bool:
        held = self._blob_size(repository, digest)
        if held is None or held > 0:
            return held == size
        return self._hash_blob(repository, digest, size) == digest

    def _hash_blob(self, repository: Repository, digest: str, size: int) -> str:
        url = f"{repository.url}/blobs/{digest}"
        hasher = hashlib.sha256()
        reply = self._transport.send(repository, "GET", url, (200,), bounds=bounds_of_blob(size), stream=True)
        with reply, naming_failures(f"GET {url}"):
            for chunk in reply.iter_content(CHUNK):
                hasher.update(chunk)
        return "sha256:" + hasher.hexdigest()

    def _upload_blob(self, repository: Repository, digest: str, source: Path | bytes) -> None:
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if self._has_blob(repository, digest, size):
            return
        url = f"{repository.url}/blobs/uploads/"
        opened = self._transport.send(repository, "POST", url, (202,))
        try:
            address = urljoin(url, opened.headers["Location"])
        except (KeyError, ValueError):
            cause = "the registry opened an upload and gave no address for it"
            raise RegistryRefused(cause, f"POST {url}", "is this a registry? check the host and the path") from None
        headers = {"Content-Type": "application/octet-stream"}
        reply = self._transport.send(
            repository, "PUT", address, (201,), params={"digest": digest}, body=source, headers=headers
        )
        _expect_answer(digest, reply, repository)


def _media_type(reply: requests.Response) -> str:
    return reply.headers.get("Content-Type", "").partition(";")[0].strip()


def _expect_answer(digest: str, reply: requests.Response, repository: Repository) -> None:
    """Compare with the digest that the registry calculated, where it says; what it stored is read back later."""
    answered = reply.headers.get("Docker-Content-Digest", digest)
    _expect(digest, answered, repository, "the registry took the bytes for others")


def _expect(digest: str, found: str, repository: Repository, cause: str) -> None:
    if found != digest:
        raise DigestMismatch(f"{cause} ({found})", f"{repository}@{digest}")
