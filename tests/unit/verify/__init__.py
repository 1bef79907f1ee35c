"""An image in a registry, with statements about it that a test may get wrong in any way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scripts.attest.envelope import BUNDLE_TYPE, ENVELOPE_TYPE, PAYLOAD_TYPE, seal
from scripts.attest.keys import Signer
from scripts.attest.provenance import PROVENANCE, describe_build
from scripts.attest.sbom import BOM, list_contents
from scripts.attest.statement import TEST_RESULT, make_statement
from scripts.model import Cell, Outcome, Result
from scripts.oci.descriptor import OCI_MANIFEST, Descriptor, digest_of
from scripts.publish.promote import promote, push_candidate
from scripts.publish.proof import Proof, describe_proof
from scripts.reference import ImageName
from scripts.smoke.smoke import Evidence
from scripts.verify.signed import ByKey, Trust
from scripts.verify.tested import Expected, Target
from scripts.verify.verify import Verification, verify
from tests.unit.attest import BUILD, make_signer, no_licences
from tests.unit.builders import RTX, make_cell
from tests.unit.registry.attached import attach_one
from tests.unit.registry.fake_registry import REPOSITORY, FakeRegistry, make_layout

TAG, NEWEST = "1.2.0-cu128-5090", "cu128-5090"
TAGS = (f"{TAG}-abcdef012345", TAG, NEWEST)
REQUIRED = ("audit", "serve/load", "serve/container")
HOST = {"cpu": "8 × some", "engine": "28.5.2", "gpu": RTX.name, "driver": "580.95.05"}
CELL = make_cell(RTX, "wheel")
Bundle = Callable[[bytes], Mapping[str, Any]]  # what a Sigstore makes of a statement
EXPECTED = Expected(Target("5090", RTX.name, "12.0", "12.8"), frozenset(REQUIRED), frozenset({"extra/load"}))


def make_predicate(planned: Cell = CELL, host: Mapping[str, str] = HOST, **changes: Any) -> dict[str, Any]:
    """What an accepted cell's test result says, with changes."""
    results = tuple(Result(check, Outcome.PASSED) for check in ("load", "container"))
    evidence = Evidence("serve", "5" * 64, "", results, 2.5, "2026-01-02T03:04:05Z", dict(host))
    proof = Proof(planned, REQUIRED, (Result("audit", Outcome.PASSED),), (evidence,))
    return describe_proof(proof, TAGS, {}) | changes


@dataclass
class World:
    """A registry with an image under TAG and NEWEST, of which nothing is said yet."""

    folder: Path
    fake: FakeRegistry = field(default_factory=FakeRegistry)

    def __post_init__(self) -> None:
        self.layout = make_layout(self.folder / "layout", "candidate")
        self.digest = push_candidate(self.fake.client(), REPOSITORY, self.layout)
        for tag in (TAG, NEWEST):
            promote(self.fake.client(), REPOSITORY, self.digest, tag, self.folder / "locks")

    @property
    def subject(self) -> Descriptor:
        return self.layout.manifest

    def attach(self, envelope: bytes, media_type: str = ENVELOPE_TYPE, kind: str = PAYLOAD_TYPE) -> str:
        arguments = (self.subject, kind, envelope, media_type, self.folder / "locks")
        return attach_one(self.fake.client(), REPOSITORY, *arguments)

    def sign(self, payload: bytes, signer: Signer | Bundle | None) -> str:
        """Attach a statement in an envelope, or as the Sigstore bundle that is made of it."""
        if signer is None or isinstance(signer, Signer):
            return self.attach(seal(payload, signer))
        return self.attach(json.dumps(signer(payload)).encode(), BUNDLE_TYPE, BUNDLE_TYPE)

    def say(
        self,
        predicate: Mapping[str, Any] | None = None,
        signer: Signer | Bundle | None = None,
        digest: str = "",
        kind: str = TEST_RESULT,
        *,
        signed: bool = True,
    ) -> str:
        """Attach a test result (or a statement of another kind), signed by the right key unless another is given.

        With it go the provenance and the SBOM of BUILD, as the cell that it names. Returns the digest of its artifact.
        """
        key = (signer or make_signer()) if signed else None
        about = digest or self.digest
        content = dict(predicate or make_predicate())
        if kind == TEST_RESULT and not content.get("statements", True):
            build = replace(BUILD, parameters={"cell": content["cell"]})
            sbom = self._say(about, BOM, list_contents(build, about, no_licences), key)
            provenance = self._say(about, PROVENANCE, describe_build(build, sbom), key)
            pairs = ((BOM, sbom), (PROVENANCE, provenance))
            content["statements"] = {name: {"sha256": found.removeprefix("sha256:")} for name, found in pairs}
        return self.sign(make_statement(str(REPOSITORY), about, kind, content), key)

    def _say(self, about: str, kind: str, predicate: Mapping[str, Any], key: Signer | Bundle | None) -> str:
        """Attach a statement; the digest of its bytes."""
        payload = make_statement(str(REPOSITORY), about, kind, predicate)
        self.sign(payload, key)
        return digest_of(payload)

    def verify(
        self,
        tag: str = TAG,
        digest: str = "",
        cell: str = "",
        expected: Expected | None = None,
        trust: Trust | None = None,
        *,
        signature: bool = True,
    ) -> Verification:
        image = ImageName(REPOSITORY, tag, digest)
        believed = (trust or ByKey(make_signer().public)) if signature else None
        return verify(self.fake.client(), image, believed, cell, lambda cell: expected)

    def artifacts(self) -> dict[str, dict[str, Any]]:
        """The manifests of what is attached, by digest."""
        found = {digest: data for digest, (data, kind) in self.fake.manifests.items() if kind == OCI_MANIFEST}
        return {digest: json.loads(data) for digest, data in found.items() if b'"subject"' in data}
