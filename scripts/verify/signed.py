"""Whose word counts: a key's or an identity's, and which of the statements it has signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from scripts.attest.keys import PublicKey
from scripts.attest.statement import read_statement
from scripts.verify.artifacts import Attached
from scripts.verify.tested import Refusal, list_some

if TYPE_CHECKING:
    from scripts.attest.keyless import Identity


class Trust(Protocol):
    """Who must have signed; its text names them."""

    def describe(self) -> dict[str, str]:
        """Who it is, for machines."""

    def keep(self, statements: Sequence[Attached]) -> list[Attached]:
        """What it has signed. Raises Refusal where that is nothing."""


@dataclass(frozen=True)
class ByKey:
    """The holder of a key."""

    key: PublicKey

    def __str__(self) -> str:
        return f"the key {self.key.id[:16]}"

    def describe(self) -> dict[str, str]:
        return {"key": self.key.id}

    def keep(self, statements: Sequence[Attached]) -> list[Attached]:
        signed = [each for each in statements if each.envelope.is_signed_by(self.key)]
        if not signed:
            ids = sorted({mark.key_id[:16] for each in statements for mark in each.envelope.signatures})
            if not any(each.envelope.signatures for each in statements):
                raise Refusal("nobody has signed it")
            raise Refusal(f"signed, and not by this key ({self.key.id[:16]}): by {', '.join(ids) or 'a nameless one'}")
        return signed


@dataclass(frozen=True)
class ByIdentity:
    """Whoever an issuer of tokens knows by a name, such as a workflow of a repository."""

    identity: Identity

    def __str__(self) -> str:
        return f"{self.identity.name} ({self.identity.issuer})"

    def describe(self) -> dict[str, str]:
        return {"identity": self.identity.name, "issuer": self.identity.issuer}

    def keep(self, statements: Sequence[Attached]) -> list[Attached]:
        bundles = [each for each in statements if each.bundle]
        if not bundles:
            by_key = any(each.envelope.signatures for each in statements)
            raise Refusal(f"no Sigstore bundle is attached{', and what is there is signed by a key' if by_key else ''}")
        signed, faults = [], []
        for each in bundles:
            try:
                # What was verified counts, and not what another reader has made of the same bytes.
                signed.append(replace(each, statement=read_statement(self.identity.open_bundle(each.bundle))))
            except ValueError as error:
                faults.append(str(error))
        if not signed:
            raise Refusal(f"no bundle is signed by {self}: {list_some(list(dict.fromkeys(faults)), 2)}")
        return signed
