"""A registry of a few parts, which answers as one of them says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, digest_of
from scripts.registry.auth import Credentials
from scripts.registry.client import Registry
from tests.unit.registry.fake_registry import FakeRegistry, refuse, reply

_HEADER = re.compile(r"[\x20-\xff]*")


def answer_with(parts: Mapping[str, bytes]) -> tuple[Registry, str]:
    """A client of a registry that has these parts, and the digest of what its tags name: `index`, or `manifest`.

    The part `answers` may say otherwise of a kind of request: another status, other headers, another body.
    """
    fake = FakeRegistry()
    top = parts.get("index") or parts.get("manifest", b"")
    for name, data in parts.items():
        if name != "answers":
            fake.blobs[digest_of(data)] = data
            fake.store(data, media_type=OCI_INDEX if b'"manifests"' in data else OCI_MANIFEST)
    said = _read(parts.get("answers", b"{}"))

    def answer(request: requests.PreparedRequest) -> requests.Response:
        path = urlsplit(str(request.url)).path
        kind = next((each for each in ("manifests", "referrers", "blobs", "uploads") if f"/{each}/" in path), "")
        kind = kind or ("ping" if path == "/v2/" else "token")
        if (other := said.get(kind)) is not None and (kind != "manifests" or not request.headers.get("Authorization")):
            return _reply(request, other)
        if kind == "manifests" and not path.rpartition("/")[2].startswith("sha256:"):
            return reply(request, 200, top, {"Content-Type": OCI_INDEX})
        if kind == "referrers" and "referrers" in parts:
            return reply(request, 200, parts["referrers"], {"Content-Type": OCI_INDEX})
        try:
            return fake.answer(request)
        except (AssertionError, ValueError, LookupError, AttributeError, TypeError):  # it has no such thing
            return refuse(request, 404, "NOT_FOUND")

    fake.gate = answer
    return fake.client(Credentials("user", "secret")), digest_of(top)


def _read(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _reply(request: requests.PreparedRequest, said: Any) -> requests.Response:
    """What HTTP can carry of an answer: a status of three digits, headers of one line, and any body."""
    said = said if isinstance(said, dict) else {"body": json.dumps(said, default=str)}
    status, headers, body = said.get("status"), said.get("headers"), said.get("body")
    headers = headers if isinstance(headers, dict) else {}
    sound = {str(key): str(value) for key, value in headers.items() if _HEADER.fullmatch(str(value))}
    text = body if isinstance(body, str) else json.dumps(body)
    code = status if isinstance(status, int) and 100 <= status <= 999 else 200
    return reply(request, code, text.encode("utf-8", "replace"), sound)
