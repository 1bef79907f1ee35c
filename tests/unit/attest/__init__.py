"""Keys, and a build to speak of."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.attest.build import Build, Made
from scripts.attest.keys import Signer
from scripts.model import LockedFile, LockedTree

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
