"""A registry in memory, behind `requests`: no sockets, and a fault wherever a test wants one."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from requests.adapters import BaseAdapter

from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, digest_of
from scripts.oci.layout import Layout
from scripts.reference import Repository
from scripts.registry.auth import Credentials
from scripts.registry.client import Registry
from scripts.registry.transport import Transport

REPOSITORY = Repository.parse("registry.example.com/team/image")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
Fault = Callable[["FakeRegistry", requests.PreparedRequest], requests.Response]


class FakeRegistry(BaseAdapter):
    """Keeps manifests by tag and by digest, like a registry that trusts itself; `faults` go by request number."""

    def __init__(self, *, referrers: bool = True, deletes_tags: bool = True) -> None:
        super().__init__()
        self.referrers, self.deletes_tags = referrers, deletes_tags
        self.ranges = True
        self.says_sizes = True  # of blobs, in answer to HEAD
        self.by_proxy = False  # to look for one at each request takes as long as all the rest
        self.page = 1000  # entries in one reply of the referrers API, and of the list of tags
        self.date = ""  # what its clock says, in HTTP's form
        self.path = REPOSITORY.path  # a pattern: the repositories that there are, all with the same contents
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.requests: list[requests.PreparedRequest] = []
        self.faults: dict[int, Fault] = {}
        self.from_then_on = False  # the fault stays, instead of hitting one request
        self.gate: Callable[[requests.PreparedRequest], requests.Response | None] = lambda request: None
        self.slept: list[float] = []

    def client(self, credentials: Credentials | None = None) -> Registry:
        session = requests.Session()
        session.trust_env = self.by_proxy
        session.mount("https://", self)
        session.mount("http://", self)
        return Registry(Transport(session, lambda host: credentials, self.slept.append))

    @property
    def writes(self) -> list[str]:
        return [f"{r.method} {urlsplit(str(r.url)).path}" for r in self.requests if r.method not in ("GET", "HEAD")]

    def tag(self, name: str) -> bytes | None:
        return self.manifests[name][0] if name in self.manifests else None

    def store(self, data: bytes, *references: str, media_type: str = OCI_MANIFEST) -> str:
        for reference in (digest_of(data), *references):
            self.manifests[reference] = data, media_type
        return digest_of(data)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        assert timeout, "every request has a time limit"
        if hasattr(request.body, "read"):
            request.body = request.body.read()  # type: ignore[union-attr]
        self.requests.append(request)
        number = len(self.requests)
        for at, fault in self.faults.items():
            if number == at or (self.from_then_on and number > at):
                return fault(self, request)
        answer = self.gate(request)
        return self.answer(request) if answer is None else answer  # a refusal is false, for `requests`

    def close(self) -> None:
        pass

    def answer(self, request: requests.PreparedRequest, spoil: Callable[[bytes], bytes] = bytes) -> requests.Response:
        """What a registry does; `spoil` alters what it stores or serves, while its headers say that all is well."""
        url = urlsplit(str(request.url))
        body = request.body if isinstance(request.body, bytes) else b""
        if url.path == "/v2/":
            return reply(request, 200, headers={"Date": self.date} if self.date else {})
        if url.path.endswith("/blobs/uploads/"):
            return reply(request, 202, headers={"Location": "/upload/1?_state=secret-state"})
        if url.path.startswith("/upload/"):
            digest = parse_qs(url.query)["digest"][0]
            if digest_of(body) != digest:
                return refuse(request, 400, "DIGEST_INVALID")
            self.blobs[digest] = spoil(body)
            return reply(request, 201, headers={"Docker-Content-Digest": digest})
        if match := re.fullmatch(rf"/v2/{self.path}/referrers/([^/]+)", url.path):
            return self._referrers(request, match[1])
        if re.fullmatch(rf"/v2/{self.path}/tags/list", url.path):
            return self._tags(request)
        match = re.fullmatch(rf"/v2/{self.path}/(blobs|manifests)/([^/]+)", url.path)
        assert match, url.path
        serve = self._blob if match[1] == "blobs" else self._manifest
        return serve(request, match[2], spoil)

    def _referrers(self, request: requests.PreparedRequest, subject: str) -> requests.Response:
        """The list of what names a subject, one entry a page where the registry is told to give pages."""
        if not self.referrers:
            return refuse(request, 404, "NOT_FOUND")
        entries = []
        for reference, (data, kind) in sorted(self.manifests.items()):
            content = json.loads(data) if ":" in reference and b'"subject"' in data else {}
            if content.get("subject", {}).get("digest") == subject:
                entry = {"mediaType": kind, "digest": reference, "size": len(data)}
                entries.append(entry | {"artifactType": content["artifactType"]})
        first = int(parse_qs(urlsplit(str(request.url)).query).get("from", ["0"])[0])
        shown = entries[first : first + self.page]
        following = f"?from={first + self.page}" if first + self.page < len(entries) else ""
        headers = {"Link": f'<{urlsplit(str(request.url)).path}{following}>; rel="next"'} if following else {}
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": shown}).encode()
        return reply(request, 200, body, {"Content-Type": OCI_INDEX, **headers})

    def _tags(self, request: requests.PreparedRequest) -> requests.Response:
        """The list of tags, a page at a time."""
        names = sorted(name for name in self.manifests if ":" not in name)
        last = parse_qs(urlsplit(str(request.url)).query).get("last", [""])[0]
        shown = [name for name in names if name > last][: self.page]
        more = shown and shown[-1] != names[-1]
        headers = {"Link": f'<{urlsplit(str(request.url)).path}?last={shown[-1]}>; rel="next"'} if more else {}
        return reply(request, 200, json.dumps({"name": "image", "tags": shown or None}).encode(), headers)

    def _manifest(
        self, request: requests.PreparedRequest, reference: str, spoil: Callable[[bytes], bytes]
    ) -> requests.Response:
        if request.method == "PUT":
            body, media_type = request.body, str(request.headers["Content-Type"])
            assert isinstance(body, bytes)
            self.store(body, media_type=media_type)
            self.manifests[reference] = spoil(body), media_type
            headers = {"Docker-Content-Digest": digest_of(body)}
            if self.referrers and "subject" in json.loads(body):
                headers["OCI-Subject"] = json.loads(body)["subject"]["digest"]
            return reply(request, 201, headers=headers)
        if request.method == "DELETE" and not self.deletes_tags:
            return refuse(request, 405, "UNSUPPORTED")
        if reference not in self.manifests:
            return refuse(request, 404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            named = self.manifests.pop(reference)
            for tag in [name for name, held in self.manifests.items() if ":" in reference and held == named]:
                del self.manifests[tag]
            return reply(request, 202)
        data, media_type = self.manifests[reference]
        return reply(request, 200, spoil(data), {"Content-Type": media_type})

    def _blob(
        self, request: requests.PreparedRequest, digest: str, spoil: Callable[[bytes], bytes]
    ) -> requests.Response:
        if digest not in self.blobs:
            return refuse(request, 404, "BLOB_UNKNOWN")
        data = spoil(self.blobs[digest])
        asked = re.fullmatch(r"bytes=([0-9]+)-", request.headers.get("Range", ""))
        if asked and self.ranges:
            start = int(asked[1])
            part = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return reply(request, 206, data[start:], part)
        if request.method == "HEAD":
            return reply(request, 200, headers={"Content-Length": str(len(data))} if self.says_sizes else {})
        return reply(request, 200, data, {"Content-Length": str(len(data))})


def reply(
    request: requests.PreparedRequest, status: int, body: bytes = b"", headers: dict[str, str] | None = None
) -> requests.Response:
    response = requests.Response()
    response.status_code, response.request, response.url = status, request, str(request.url)
    response.raw = io.BytesIO(body)
    response.headers.update(headers or {})
    return response


def refuse(
    request: requests.PreparedRequest, status: int, code: str, headers: dict[str, str] | None = None
) -> requests.Response:
    return reply(request, status, json.dumps({"errors": [{"code": code, "message": "no"}]}).encode(), headers)


def drop(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    raise requests.ConnectionError(f"Max retries exceeded with url: {request.url}")


def lose_reply(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    registry.answer(request)
    raise requests.ReadTimeout(f"timed out: {request.url}")


def fail(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    return refuse(request, 500, "UNKNOWN")


def unauthorized(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    return refuse(request, 401, "UNAUTHORIZED")


def wrong_bytes(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    return registry.answer(request, lambda data: data.swapcase() + b" ")


def cut_short(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    return registry.answer(request, lambda data: data[: len(data) // 2])


FAULTS: dict[str, Fault] = {
    fault.__name__: fault for fault in (drop, lose_reply, fail, unauthorized, wrong_bytes, cut_short)
}


def make_layout(folder: Path, name: str) -> Layout:
    """A complete layout of one config and two layers, whose manifest is indented: re-serialising it would show."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def keep(data: bytes, media_type: str) -> dict[str, Any]:
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    diff_ids = [digest_of(f"{name} {number}".encode()) for number in ("one", "two")]
    config = {"name": name, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = {
        "schemaVersion": 2,
        "config": keep(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [keep(f"{name} one".encode(), LAYER), keep(f"{name} two".encode(), LAYER)],
    }
    entry = keep(json.dumps(manifest, indent=3).encode(), OCI_MANIFEST)
    (folder / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return Layout.open(folder)
