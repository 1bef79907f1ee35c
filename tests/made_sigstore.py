"""A Sigstore of our own: it names who asks, issues certificates for minutes, and logs what was signed.

Its formats are those of Fulcio (v2), of a CT log (RFC 6962) and of Rekor (v1); `serve` has them on 127.0.0.1.
https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md, https://github.com/sigstore/rekor/blob/main/openapi.yaml
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scripts.attest.envelope import PAYLOAD_TYPE, encode

NAME = "https://github.com/acme/hallmark/.github/workflows/build.yml@refs/heads/main"
ISSUER = "https://token.actions.githubusercontent.com"
LIFETIME = timedelta(minutes=10)
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_OIDS = "1.3.6.1.4.1.57264.1"
_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_SHA256 = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def der(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form)


def make_key(number: int) -> ec.EllipticCurvePrivateKey:
    """A key that is the same for the same number."""
    return ec.derive_private_key(0x516570 + number, ec.SECP256R1())


def hash_tree(leaves: Sequence[bytes]) -> bytes:
    """The root of a Merkle tree (RFC 6962, 2.1)."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + hash_tree(leaves[:half]) + hash_tree(leaves[half:])).digest()


def audit_path(at: int, leaves: Sequence[bytes]) -> list[bytes]:
    """What shows that a leaf is in the tree (RFC 6962, 2.1.1)."""
    if len(leaves) == 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if at < half:
        return [*audit_path(at, leaves[:half]), hash_tree(leaves[half:])]
    return [*audit_path(at - half, leaves[half:]), hash_tree(leaves[:half])]


@dataclass
class MadeSigstore:
    """`first` numbers its keys: two with other numbers do not know each other. `address` is where it is served.

    `late` is added to the time of an entry of the log; `spoil` changes what the log answers. With a time that stands
    still, `now`, the same is said each time.
    """

    first: int = 0
    address: str = "http://127.0.0.1:1"
    now: datetime | None = None
    late: timedelta = timedelta()
    spoil: Any = None
    leaves: list[bytes] = field(default_factory=lambda: [b"one", b"two", b"three"])
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.authority, self.times, self.log = (make_key(self.first + number) for number in range(3))
        now = self.time()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"made authority {self.first}")])
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key())
        self.root = (
            x509.CertificateBuilder(name, name, self.authority.public_key(), 1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(key_id, critical=False)
            .sign(self.authority, hashes.SHA256(), ecdsa_deterministic=True)
        )

    def time(self) -> datetime:
        """What its clocks say."""
        return self.now or datetime.now(UTC)

    # --- what it issues

    def token(self, audience: str = "sigstore") -> str:
        """What GitHub says of a job: a JSON web token, which nobody but Fulcio checks."""
        now = int(time.time())
        claims: dict[str, Any] = {"iss": ISSUER, "aud": audience, "sub": "repo:acme/hallmark:environment:promote"}
        claims |= {"iat": now, "exp": now + 300, "job_workflow_ref": NAME.removeprefix("https://github.com/")}
        parts = (json.dumps({"alg": "RS256"}).encode(), json.dumps(claims).encode(), b"signature")
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)

    def issue(self, key: ec.EllipticCurvePublicKey, name: str = NAME, issuer: str = ISSUER) -> x509.Certificate:
        """A certificate for a key whose holder has shown who they are, with the CT log's word that it was logged."""
        now = self.time().replace(microsecond=0)
        builder = (
            x509.CertificateBuilder(self.root.subject, x509.Name([]), key, len(self.leaves))
            .not_valid_before(now)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)]), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), critical=False
            )
        )
        for number, value in ((1, issuer.encode()), (8, bytes([0x0C, len(issuer)]) + issuer.encode())):
            oid = x509.ObjectIdentifier(f"{_OIDS}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        before = builder.sign(self.authority, hashes.SHA256(), ecdsa_deterministic=True)
        logged = x509.UnrecognizedExtension(_SCTS, self._promise(before, int(now.timestamp() * 1000)))
        builder = builder.add_extension(logged, critical=False)
        return builder.sign(self.authority, hashes.SHA256(), ecdsa_deterministic=True)

    def _promise(self, certificate: x509.Certificate, when: int) -> bytes:
        """A list of one signed certificate timestamp (RFC 6962, 3.2), as an extension has it."""
        body = certificate.tbs_certificate_bytes
        about = hashlib.sha256(der(self.authority)).digest() + len(body).to_bytes(3) + body
        signature = self.times.sign(b"\0\0" + when.to_bytes(8) + b"\0\1" + about + b"\0\0", _SHA256)
        promise = b"\0" + hashlib.sha256(der(self.times)).digest() + when.to_bytes(8) + b"\0\0"
        promise += b"\4\3" + len(signature).to_bytes(2) + signature
        listed = len(promise).to_bytes(2) + promise
        listed = len(listed).to_bytes(2) + listed
        assert len(listed) < 0x80, "DER has another form for a longer one"
        return bytes([4, len(listed)]) + listed

    def enter(self, payload: bytes, signature: bytes, certificate: x509.Certificate) -> dict[str, Any]:
        """Log what was signed; the entry as Rekor answers it."""
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(payload + signature).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": b64(signature), "verifier": b64(pem)}],
        }
        body = _canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        self.leaves.append(body)
        at, root = len(self.leaves) - 1, hash_tree(self.leaves)
        note = f"made log\n{len(self.leaves)}\n{b64(root)}\n"
        log_id = hashlib.sha256(der(self.log)).digest()
        signed = b64(log_id[:4] + self.log.sign(note.encode(), _SHA256))
        entry = {
            "body": b64(body),
            "integratedTime": int((self.time() + self.late).timestamp()),
            "logID": log_id.hex(),
            "logIndex": at,
        }
        proof = {
            "checkpoint": f"{note}\n\N{EM DASH} made {signed}\n",
            "hashes": [each.hex() for each in audit_path(at, self.leaves)],
            "logIndex": at,
            "rootHash": root.hex(),
            "treeSize": len(self.leaves),
        }
        promise = b64(self.log.sign(_canonical(entry), _SHA256))
        return entry | {"verification": {"inclusionProof": proof, "signedEntryTimestamp": promise}}

    def sign(self, payload: bytes, name: str = NAME, issuer: str = ISSUER) -> dict[str, Any]:
        """A statement that somebody has signed, as a Sigstore bundle: what a client makes of the answers."""
        key = make_key(self.first + 1000 + len(self.leaves))
        certificate, signature = self.issue(key.public_key(), name, issuer), key.sign(encode(payload), _SHA256)
        entry = self.enter(payload, signature, certificate)
        proof, promise = (entry["verification"][part] for part in ("inclusionProof", "signedEntryTimestamp"))
        logged = {
            "logIndex": str(entry["logIndex"]),
            "logId": {"keyId": b64(bytes.fromhex(entry["logID"]))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(entry["integratedTime"]),
            "inclusionPromise": {"signedEntryTimestamp": promise},
            "inclusionProof": {
                "logIndex": str(proof["logIndex"]),
                "rootHash": b64(bytes.fromhex(proof["rootHash"])),
                "treeSize": str(proof["treeSize"]),
                "hashes": [b64(bytes.fromhex(each)) for each in proof["hashes"]],
                "checkpoint": {"envelope": proof["checkpoint"]},
            },
            "canonicalizedBody": entry["body"],
        }
        raw = certificate.public_bytes(serialization.Encoding.DER)
        envelope = {"payload": b64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [{"sig": b64(signature)}]}
        return {
            "mediaType": _BUNDLE,
            "verificationMaterial": {"certificate": {"rawBytes": b64(raw)}, "tlogEntries": [logged]},
            "dsseEnvelope": envelope,
        }

    # --- what is known of it

    def trusted_root(self) -> dict[str, Any]:
        """What a consumer believes."""
        since = {"start": "2020-01-01T00:00:00Z"}

        def describe(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": b64(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}
            log_id = {"keyId": b64(hashlib.sha256(der(key)).digest())}
            return {"baseUrl": self.address, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": log_id}

        chain = {"certificates": [{"rawBytes": b64(self.root.public_bytes(serialization.Encoding.DER))}]}
        authority = {"subject": {"organization": "made", "commonName": "made"}, "uri": self.address, "certChain": chain}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [describe(self.log)],
            "certificateAuthorities": [authority | {"validFor": since}],
            "ctlogs": [describe(self.times)],
            "timestampAuthorities": [],
        }

    def trust_config(self) -> dict[str, Any]:
        """What who signs believes, and asks."""
        service = {"url": self.address, "majorApiVersion": 1, "operator": "made"}
        service["validFor"] = {"start": "2020-01-01T00:00:00Z"}
        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service],
            "oidcUrls": [service],
            "rekorTlogUrls": [service],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root(),
            "signingConfig": signing,
        }

    # --- over HTTP

    def job(self) -> dict[str, str]:
        """The variables of a job on GitHub that may ask who it is."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a secret",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.address}/token?api-version=2.0",
        }

    def answer(self, target: str, body: bytes, bearer: str) -> tuple[int, Any]:
        """What it answers: GitHub's tokens, Fulcio's certificates, Rekor's entries."""
        place = urlsplit(target)
        self.asked.append(place.path)
        if place.path == "/token" and bearer == "a secret":
            return 200, {"value": self.token(*parse_qs(place.query)["audience"])}
        if place.path == "/api/v2/signingCert" and bearer.count(".") == 2:
            request = x509.load_pem_x509_csr(base64.b64decode(json.loads(body)["certificateSigningRequest"]))
            key = request.public_key()
            assert request.is_signature_valid and isinstance(key, ec.EllipticCurvePublicKey)
            chain = [each.public_bytes(serialization.Encoding.PEM).decode() for each in (self.issue(key), self.root)]
            return 200, {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}
        if place.path == "/api/v1/log/entries":
            proposed = json.loads(body)["spec"]["proposedContent"]
            envelope = json.loads(proposed["envelope"])
            certificate = x509.load_pem_x509_certificate(base64.b64decode(proposed["verifiers"][0]))
            signature = base64.b64decode(envelope["signatures"][0]["sig"])
            entry = self.enter(base64.b64decode(envelope["payload"]), signature, certificate)
            return 201, {"an id": self.spoil(entry) if self.spoil else entry}
        return 403, {"code": 403, "message": "not this"}

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Have it on 127.0.0.1, under `address`."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:  # noqa: N805
                size = int(handler.headers.get("Content-Length", 0))
                bearer = handler.headers.get("Authorization", "").partition(" ")[2]
                status, answer = self.answer(handler.path, handler.rfile.read(size), bearer)
                data = json.dumps(answer).encode()
                handler.send_response(status)
                handler.send_header("Content-Length", str(len(data)))
                handler.end_headers()
                handler.wfile.write(data)

            do_POST = do_GET  # noqa: N815

            def log_message(handler, *_: Any) -> None:  # noqa: N805
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


def _usage(*, authority: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    never = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **never)


def _canonical(value: Any) -> bytes:
    """JSON in the one form that is signed (RFC 8785, as far as these values go)."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
