"""Signatures without a key of one's own: a certificate says who signed, for minutes, and a log says when.

Sigstore's library does it. Its import takes most of a second, and it is an extra: import this where it is used, within
`needing_sigstore`. https://docs.sigstore.dev/about/overview/
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from threading import Thread
from typing import TypeVar
from urllib.parse import quote

from cryptography.x509 import Certificate
from id import GitHubOidcPermissionCredentialError
from sigstore.dsse import Statement
from sigstore.errors import CertValidationError, Error, MetadataError, VerificationError
from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
from sigstore.oidc import IdentityToken, detect_credential
from sigstore.sign import SigningContext
from sigstore.verify import Verifier, policy

from scripts.attest.envelope import PAYLOAD_TYPE
from scripts.errors import ConfigError, Undecided

MOST_WAIT = 180  # seconds for all that is asked to sign one statement
_LONGEST = 300  # characters of what the library says was wrong
_PUBLIC = "https://tuf-repo-cdn.sigstore.dev"  # whose trusted root comes with the library
_KEYLESS = "HALLMARK_SIGNING=keyless"
_AGAIN = "run the same command again"
_MAY = "run it in a CI job that may say who it is (GitHub: `id-token: write`), or sign by a key: HALLMARK_SIGNING_KEY"
T = TypeVar("T")

# What it warns of ends as an error here, or is of no use to whoever reads a terminal.
logging.getLogger("sigstore").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Identity:
    """Who must have signed: a certificate's name, and the issuer of the token by which its holder got it.

    `verifier` has what is believed of certificates and logs, and asks nobody.
    """

    name: str
    issuer: str
    verifier: Verifier

    def open_bundle(self, data: bytes) -> bytes:
        """The statement in a Sigstore bundle, if this identity signed it and it was logged while the certificate held.

        Raises ValueError, with a cause for people, for any other, and ConfigError for a trusted root that lacks a part.
        """
        try:
            kind, statement = self.verifier.verify_dsse(Bundle.from_json(data), _Policy(self.name, self.issuer))
        except MetadataError as error:
            raise ConfigError(str(error), "--trusted-root", "give a whole one") from error
        except CertValidationError as error:
            raise ValueError(f"its certificate did not hold when it was logged: {_first_line(error)}") from error
        except Error as error:
            raise ValueError(_first_line(error)) from error
        except Exception as error:  # of what strangers wrote, the library raises whatever its parsers raise
            raise ValueError(f"the bundle cannot be read ({type(error).__name__})") from error
        if kind != PAYLOAD_TYPE:
            raise ValueError(f"it is no in-toto statement that is signed (payload type {kind[:60]!r})")
        return statement


@dataclass(frozen=True)
class _Policy:
    """What the library asks about a certificate."""

    name: str
    issuer: str

    def verify(self, cert: Certificate) -> None:
        """Raise VerificationError for a certificate of anybody else."""
        for words, rule in (
            ("another issuer says who signed it", policy.OIDCIssuer(self.issuer)),
            ("another identity signed it", policy.Identity(identity=self.name)),
        ):
            try:
                rule.verify(cert)
            except VerificationError as error:
                raise VerificationError(f"{words}: {error}") from error


def open_identity(name: str, issuer: str, root: Path | None) -> Identity:
    """Who must have signed, by a trusted root's file, or by the public Sigstore's as it came with the library.

    Raises ConfigError for a file that is none.
    """
    embedded = resources.files("sigstore") / "_store" / quote(_PUBLIC, safe="") / "trusted_root.json"
    place = str(root or embedded)
    step = "give a trusted_root.json of Sigstore's form; what signs has it, too, within its trust configuration"
    try:
        return Identity(name, issuer, Verifier(trusted_root=TrustedRoot.from_file(place)))
    except OSError as error:
        raise ConfigError(f"the trusted root cannot be read ({error.strerror})", place, step) from error
    except (Error, ValueError) as error:
        raise ConfigError(f"no trusted root ({_first_line(error)})", place, step) from error


@dataclass(frozen=True)
class KeylessSigner:
    """What signs as whoever this job is: its token for a certificate, and a key that nobody keeps.

    `trust` says which Sigstore is asked, and what it must hold against; None is the public one.
    """

    trust: ClientTrustConfig | None

    def sign(self, statement: bytes) -> bytes:
        """A statement as a Sigstore bundle, logged. Each time it is another, at another place of the log.

        Raises Undecided, also for a bundle that its own trusted root does not bear out: no consumer would believe it.
        """
        return _within(lambda: self._sign(Statement(statement))).to_json().encode()

    def _sign(self, statement: Statement) -> Bundle:
        context, verifier = _prepare(self.trust or _ask_public())
        token = find_token()
        try:
            with context.signer(token) as signer:
                bundle = signer.sign_dsse(statement)
        except Exception as error:  # whatever the library's clients raise of what comes back
            raise Undecided(f"Sigstore has not signed: {_first_line(error)}", _KEYLESS, _AGAIN) from error
        try:
            verifier.verify_dsse(bundle, policy.UnsafeNoOp())  # who it is, the token has said
        except Exception as error:
            step = "see whether the trust configuration is that of the services in it"
            raise Undecided(f"what Sigstore gave does not hold: {_first_line(error)}", _KEYLESS, step) from error
        return bundle


def open_keyless_signer(trust: Path | None) -> KeylessSigner:
    """What signs by the Sigstore of a client's trust configuration, or by the public one.

    Raises ConfigError for a file that is none, and where this is no job that may say who it is. Services that do not
    answer now are no matter until something is signed: what is withdrawn does not wait for them.
    """
    with suppress(Undecided):
        find_token()
    try:
        config = ClientTrustConfig.from_json(trust.read_text("utf-8")) if trust else None
        if config:
            _prepare(config)
    except (OSError, Error, ValueError) as error:
        place, step = f"HALLMARK_SIGNING_TRUST={trust}", "give a ClientTrustConfig of Sigstore's form (JSON)"
        raise ConfigError(f"no trust configuration ({_first_line(error)})", place, step) from error
    return KeylessSigner(config)


def _prepare(trust: ClientTrustConfig) -> tuple[SigningContext, Verifier]:
    return SigningContext.from_trust_config(trust), Verifier(trusted_root=trust.trusted_root)


def find_token() -> IdentityToken:
    """Who this job is, as its CI says. Raises ConfigError where it may not ask, and Undecided where that failed."""
    try:
        if token := detect_credential():
            return IdentityToken(token)
    except Exception as error:
        if not isinstance(error.__cause__, GitHubOidcPermissionCredentialError):
            raise Undecided(f"CI does not say who this job is: {_first_line(error)}", _KEYLESS, _AGAIN) from error
    raise ConfigError("nobody here can say who signs", _KEYLESS, _MAY)


@cache
def _ask_public() -> ClientTrustConfig:
    try:
        return ClientTrustConfig.production()
    except Exception as error:
        step = "see that this machine reaches it, or name another Sigstore: HALLMARK_SIGNING_TRUST"
        raise Undecided(f"the public Sigstore was not reached: {_first_line(error)}", _PUBLIC, step) from error


def _within(ask: Callable[[], T]) -> T:
    """What comes of a call of the library's, which waits without end for whom it asks. Raises Undecided."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=run, daemon=True).start()  # one that hangs does not keep the program from its end
    try:
        return answer.result(MOST_WAIT)
    except TimeoutError:
        raise Undecided(f"no answer of Sigstore's within {MOST_WAIT} s", _KEYLESS, _AGAIN) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_LONGEST]
