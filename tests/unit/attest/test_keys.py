from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from scripts.attest.keys import Signer, open_signer, read_public_key
from scripts.errors import ConfigError
from scripts.site import Site
from tests.unit.attest import make_signer, write_private, write_public

DATA = b"some bytes"


def make_site(key: Path | None, password: str = "") -> Site:
    return Site("auto", "", (), (), Path(), signing_key=key, signing_password=password)


def test_without_a_key_there_is_no_signer() -> None:
    assert open_signer(make_site(None)) is None


@pytest.mark.parametrize("password", ["", "a secret"])
def test_a_key_that_was_written_signs_what_its_public_half_accepts(password: str, tmp_path: Path) -> None:
    signer = open_signer(make_site(write_private(tmp_path / "key", make_signer(), password), password))
    assert signer
    public = read_public_key(write_public(tmp_path / "key.pub", make_signer()))
    signature = signer.sign(DATA)
    assert public.accepts(signature, DATA)
    assert signer.sign(DATA) == signature, "the same bytes have one signature"
    assert not public.accepts(signature, DATA + b"!")
    assert not make_signer(2).public.accepts(signature, DATA)
    assert not public.accepts(b"", DATA) and not public.accepts(signature[:-1], DATA)


def test_a_keys_id_is_the_hash_of_its_der_form() -> None:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    public = make_signer().public
    assert public.id == hashlib.sha256(public.key.public_bytes(*form)).hexdigest()
    assert public.id != make_signer(2).public.id


@pytest.mark.parametrize(("given", "words"), [("", "the key is encrypted"), ("another", "does not open the key")])
def test_an_encrypted_key_needs_its_password(given: str, words: str, tmp_path: Path) -> None:
    key = write_private(tmp_path / "key", make_signer(), "a secret")
    with pytest.raises(ConfigError, match=words) as caught:
        open_signer(make_site(key, given))
    assert "a secret" not in str(caught.value) and "another" not in str(caught.value)


def test_a_password_is_not_shown_with_the_site() -> None:
    assert "a secret" not in repr(make_site(Path("key"), "a secret"))


def make_p384() -> bytes:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(*form)


def make_ed25519() -> bytes:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return ed25519.Ed25519PrivateKey.generate().private_bytes(*form)


WRONG = [b"", b"text", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"x" * 70_000]


@pytest.mark.parametrize("data", [*WRONG, make_p384(), make_ed25519()])
def test_what_is_no_private_key_of_the_kind_is_a_mistake(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(ConfigError, match="not an ECDSA key over P-256"):
        open_signer(make_site(tmp_path / "key"))


def test_a_key_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        open_signer(make_site(tmp_path / "key"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_public_key(tmp_path)


def test_what_checks_is_a_public_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a private key"):
        read_public_key(write_private(tmp_path / "key", make_signer()))
    for data in (b"text", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        (tmp_path / "other").write_bytes(data)
        with pytest.raises(ConfigError, match="not an ECDSA key"):
            read_public_key(tmp_path / "other")
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(ConfigError, match="not an ECDSA key"):
        read_public_key(write_public(tmp_path / "other", Signer(other)))
