"""A statement as it is attached: in an envelope that a key has signed, or nobody; or signed without one, in a bundle.

How bundles are attached: https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.attest.envelope import BUNDLE_TYPE, ENVELOPE_TYPE, PAYLOAD_TYPE, seal
from scripts.attest.extra import needing_sigstore
from scripts.attest.keys import Signer, open_signer
from scripts.site import Site

if TYPE_CHECKING:
    from scripts.attest.keyless import KeylessSigner

# Where others look for the type of what an envelope says: cosign, and BuildKit with those that read its attestations.
_TYPE_NOTES = ("predicateType", "in-toto.io/predicate-type")


@dataclass(frozen=True)
class Sealed:
    """The bytes of an artifact's one layer and their media type, the artifact's type, and what is noted of it."""

    data: bytes
    media_type: str
    artifact_type: str
    notes: Mapping[str, str]


def open_sealer(site: Site) -> Signer | KeylessSigner | None:
    """What signs at this site, or None where nothing does. Raises ConfigError and Undecided where it could not sign."""
    if not site.keyless:
        return open_signer(site)
    with needing_sigstore():
        from scripts.attest.keyless import open_keyless_signer
    return open_keyless_signer(site.signing_trust)


def seal_statement(statement: bytes, predicate_type: str, signer: Signer | KeylessSigner | None) -> Sealed:
    """A statement as it is attached. Raises Undecided where it cannot be signed."""
    if signer is None or isinstance(signer, Signer):
        notes = dict.fromkeys(_TYPE_NOTES, predicate_type)
        return Sealed(seal(statement, signer), ENVELOPE_TYPE, PAYLOAD_TYPE, notes)
    notes = {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicate_type}
    return Sealed(signer.sign(statement), BUNDLE_TYPE, BUNDLE_TYPE, notes)
