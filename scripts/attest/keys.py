"""Keys: ECDSA over P-256 with SHA-256, as PEM files. One signs and the other, its public half, checks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.errors import ConfigError
from scripts.site import Site

_LARGEST = 1 << 16  # bytes of a file that may be a key
_KIND = "an ECDSA key over P-256, in PEM"
_MAKE = "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE"
_PUBLIC = "give the public half: openssl pkey -in KEY -pubout -out FILE"


@dataclass(frozen=True)
class PublicKey:
    """A key that checks signatures; its id is the SHA-256 of its DER form (SubjectPublicKeyInfo), in hexadecimal."""

    key: ec.EllipticCurvePublicKey
    id: str

    def accepts(self, signature: bytes, data: bytes) -> bool:
        """Whether a signature (DER) is this key's, over exactly these bytes."""
        try:
            self.key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key. The same bytes are given the same signature each time (RFC 6979), so what is signed twice is one
    artifact."""

    key: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        return _identify(self.key.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature over some bytes, in DER."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def open_signer(site: Site) -> Signer | None:
    """The site's private key, or None where it has none. Raises ConfigError for one that cannot sign."""
    if site.signing_key is None:
        return None
    place = f"HALLMARK_SIGNING_KEY={site.signing_key}"
    data = _read(site.signing_key, place)
    password = site.signing_password.encode() if b"ENCRYPTED" in data else None
    if password == b"":
        raise ConfigError("the key is encrypted", place, "give its password in HALLMARK_SIGNING_PASSWORD")
    try:
        key = serialization.load_pem_private_key(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's own words are left out: they may quote what is in the file.
        cause = "the password does not open the key" if password else f"not {_KIND}"
        raise ConfigError(cause, place, "check HALLMARK_SIGNING_PASSWORD" if password else _MAKE) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"not {_KIND}", place, _MAKE)
    return Signer(key)


def read_public_key(path: Path) -> PublicKey:
    """The key in a file. Raises ConfigError for anything but a public one of the kind that is used here."""
    data = _read(path, str(path))
    if b"PRIVATE KEY" in data:
        raise ConfigError("a private key, which is nobody's business here", str(path), _PUBLIC)
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"not {_KIND}", str(path), _PUBLIC) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"not {_KIND}", str(path), _PUBLIC)
    return _identify(key)


def _identify(key: ec.EllipticCurvePublicKey) -> PublicKey:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(key, hashlib.sha256(der).hexdigest())


def _read(path: Path, place: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"the key cannot be read ({error.strerror})", place, "give the path of a PEM file") from None
    if len(data) > _LARGEST:
        raise ConfigError(f"not {_KIND}: the file is too large", place, "give the path of a PEM file")
    return data
