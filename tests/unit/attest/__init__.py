"""Keys, a Sigstore without a network, and a build to speak of."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from requests.adapters import HTTPAdapter

from scripts.attest.build import Build, Made
from scripts.attest.keys import Signer
from scripts.model import LockedFile, LockedTree
from tests.made_sigstore import MadeSigstore

WHEEL = LockedFile("wheel", "Some.Thing", "1.0+cu128", "some_thing-1.0+cu128-py3-none-any.whl", "a" * 64, 10)
DEB = LockedFile("deb", "libstdc++6", "1:12.2-14+b1", "libstdc++6_12.2-14+b1_amd64.deb", "b" * 64, 20, path="pool/main")
ARCHIVE = LockedFile("archive", "nvcc", "12.8", "nvcc.tar.xz", "c" * 64, 30, url="https://example.com/nvcc.tar.xz")
SDIST = LockedFile("sdist", "kernels", "2.0", "kernels-2.0.tar.gz", "d" * 64, 40)
TREE = LockedTree("cutlass", "https://example.com/cutlass", "e" * 40, "v4")
BUILD = Build(
    build_id="abcdef012345" + "6" * 52,
    name="serve-cu128-sm120-wheel",
    version="1.2.0",
    epoch=1_700_000_000,
    parameters={"cell": "serve-cu128-5090-wheel", "recipe": "wheel", "compute": "12.0"},
    packages=(WHEEL, DEB, ARCHIVE),
    made=(Made("kernels", "2.0+cu128.sm120", "f" * 64),),
    sources=(SDIST, TREE, DEB),
)


def no_licences(file: LockedFile) -> tuple[str, ...]:
    return ()


@cache
def make_signer(number: int = 1) -> Signer:
    """A key that is the same for the same number."""
    return Signer(ec.derive_private_key(0xC0FFEE + number, ec.SECP256R1()))


def write_private(path: Path, signer: Signer, password: str = "") -> Path:
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    path.write_bytes(signer.key.private_bytes(*form))
    return path


def write_public(path: Path, signer: Signer) -> Path:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(signer.public.key.public_bytes(*form))
    return path


def answer_in_memory(made: MadeSigstore, patch: pytest.MonkeyPatch) -> None:
    """Have the library's clients ask this Sigstore, with no network, as a job that may say who it is."""

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        body = request.body or b""
        data = body if isinstance(body, bytes) else str(body).encode()
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        found = requests.Response()
        found.status_code, answer = made.answer(str(request.url), data, bearer)
        found.raw, found.url = io.BytesIO(json.dumps(answer).encode()), str(request.url)
        return found

    def ask(method: str, url: str, fields: Any = None, **options: Any) -> Any:
        status, answer = made.answer(url, b"", options["headers"]["Authorization"].removeprefix("bearer "))
        return SimpleNamespace(status=status, data=json.dumps(answer).encode(), json=lambda: answer)

    patch.setattr(HTTPAdapter, "send", send)
    patch.setattr(urllib3, "request", ask)
    for name, value in made.job().items():
        patch.setenv(name, value)
