"""DSSE envelopes: a payload, and signatures over exactly its bytes and its type.

Format: https://github.com/secure-systems-lab/dsse (envelope.md, protocol.md). A Sigstore bundle has one within it:
https://docs.sigstore.dev/about/bundle/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.attest.keys import PublicKey, Signer
from scripts.files import canonical_json
from scripts.oci.descriptor import parse_object

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_MOST_SIGNATURES = 16


@dataclass(frozen=True)
class Signature:
    """Some bytes that claim to be a signature. `key_id` is a hint of whose, and proves nothing."""

    data: bytes
    key_id: str


@dataclass(frozen=True)
class Envelope:
    """A payload of the type PAYLOAD_TYPE, and what claims to sign it."""

    payload: bytes
    signatures: tuple[Signature, ...]

    def is_signed_by(self, key: PublicKey) -> bool:
        """Whether one of the signatures is this key's, over exactly this payload."""
        signed = encode(self.payload)
        return any(key.accepts(signature.data, signed) for signature in self.signatures)


def encode(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of a payload and its type."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, signer: Signer | None) -> bytes:
    """An envelope's bytes; without a signer it has no signatures. The same payload and key give the same bytes."""
    content = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE}
    return canonical_json(content | {"signatures": list_signatures(payload, signer)})


def list_signatures(payload: bytes, signer: Signer | None) -> list[dict[str, str]]:
    """The signatures over a payload as an envelope has them; without a signer there are none."""
    if signer is None:
        return []
    return [{"keyid": signer.public.id, "sig": base64.b64encode(signer.sign(encode(payload))).decode()}]


def open_envelope(data: bytes) -> Envelope:
    """Read an envelope; nothing in it is believed yet. Raises ValueError, with a cause for people, for no envelope."""
    return _read(parse_object(data))


def open_bundle(data: bytes) -> Envelope:
    """Read a Sigstore bundle's envelope; nothing in it is believed yet. Raises ValueError, with a cause for people."""
    content = parse_object(data).get("dsseEnvelope")
    if not isinstance(content, dict):
        raise ValueError("a Sigstore bundle without an envelope")
    return _read(content)


def _read(content: Mapping[str, Any]) -> Envelope:
    if content.get("payloadType") != PAYLOAD_TYPE:
        raise ValueError(f"no envelope of an in-toto statement (payload type {str(content.get('payloadType'))[:60]!r})")
    return Envelope(_decode(content.get("payload")), read_signatures(content.get("signatures")))


def read_signatures(signatures: object) -> tuple[Signature, ...]:
    """An envelope's signatures, of which nothing is believed yet. Raises ValueError, with a cause for people."""
    if not isinstance(signatures, list) or not all(isinstance(each, dict) for each in signatures):
        raise ValueError("an envelope without a list of signatures")
    if len(signatures) > _MOST_SIGNATURES:
        raise ValueError(f"an envelope with {len(signatures)} signatures, and at most {_MOST_SIGNATURES} are read")
    return tuple(Signature(_decode(each.get("sig")), str(each.get("keyid", ""))[:100]) for each in signatures)


def _decode(text: object) -> bytes:
    """The bytes of base64, in either of its alphabets, as DSSE allows."""
    try:
        if not isinstance(text, str):
            raise ValueError
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("an envelope whose parts are not base64") from None
