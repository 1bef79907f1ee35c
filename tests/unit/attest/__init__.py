"""Keys for tests: made once, for a key takes longer than what is tested with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.attest.keys import Signer


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
