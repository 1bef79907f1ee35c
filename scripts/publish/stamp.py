"""The stamp: tags for an accepted candidate, in the engine and in a registry, and the evidence beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.attest.build import Build, Licences
from scripts.attest.envelope import ENVELOPE_TYPE, PAYLOAD_TYPE, seal
from scripts.attest.keys import Signer
from scripts.attest.provenance import PROVENANCE, describe_build
from scripts.attest.sbom import BOM, list_contents
from scripts.attest.statement import TEST_RESULT, make_statement
from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, remove_image, set_tag, tags_of
from scripts.oci.descriptor import Descriptor, digest_of
from scripts.plan import PlannedCell
from scripts.publish.attach import attach
from scripts.publish.promote import promote
from scripts.publish.proof import Proof, describe_proof
from scripts.registry.client import Registry
from scripts.registry.reference import Repository

NAMESPACE = "hallmark"
# Where others look for the type of what a layer says: cosign, and BuildKit with those that read its attestations.
_TYPE_NOTES = ("predicateType", "in-toto.io/predicate-type")


@dataclass(frozen=True)
class Tags:
    """A cell's tags: `moving` follows the newest accepted build, `fixed` names this one build for good."""

    image: str
    moving: str
    fixed: str

    @property
    def all(self) -> tuple[str, str]:
        # The fixed one first: an interruption then never leaves the moving tag ahead of it.
        return self.fixed, self.moving


def name_tags(planned: PlannedCell, build_id: str) -> Tags:
    """`vllm`, `0.28.0-cpu` and `0.28.0-cpu-<12 digits of the build id>`."""
    version = planned.recipe.version if planned.recipe else ""
    moving = f"{version}-{planned.cell.variant}"
    return Tags(planned.cell.image, moving, f"{moving}-{build_id[:12]}")


def name_repository(registry_name: str, image: str) -> Repository:
    """An image's repository under HALLMARK_REGISTRY. Raises ConfigError for a name that no registry could have."""
    return Repository.parse(f"{registry_name}/{image}")


def stamp_engine(engine: Engine, digest: str, tags: Tags) -> str:
    """Point both tags at the digest, in the engine, unless they do already; returns the moving one's reference."""
    for tag in tags.all:
        reference = f"{NAMESPACE}/{tags.image}:{tag}"
        if digest_of_tag(engine, reference) != digest:
            set_tag(engine, digest, reference)
    return f"{NAMESPACE}/{tags.image}:{tags.moving}"


def withdraw(engine: Engine, digest: str, tags: Tags) -> list[str]:
    """Take a cell's tags off a digest that is not (or no longer) accepted; returns those that it had.

    The tags of other GPUs stay: what this digest did on one says nothing of another.
    """
    own = re.compile(rf"{re.escape(f'{NAMESPACE}/{tags.image}:{tags.moving}')}(-[0-9a-f]{{12}})?")
    gone = [tag for tag in tags_of(engine, digest) if own.fullmatch(tag)]
    for tag in gone:
        remove_image(engine, tag)
    return gone


def stamp_registry(
    registry: Registry,
    repository: Repository,
    candidate: Descriptor,
    tags: Tags,
    proof: Proof,
    build: Build,
    licences: Licences,
    signer: Signer | None,
    lock_folder: Path,
) -> str:
    """Attach its evidence to a candidate that is there, then promote both tags; returns the moving one's reference."""
    digest = candidate.digest

    def say(predicate_type: str, predicate: Mapping[str, Any]) -> str:
        """Attach a statement about the candidate; the digest of its bytes."""
        statement = make_statement(str(repository), digest, predicate_type, predicate)
        notes = dict.fromkeys(_TYPE_NOTES, predicate_type)
        envelope = seal(statement, signer)
        attach(registry, repository, candidate, PAYLOAD_TYPE, envelope, ENVELOPE_TYPE, lock_folder, notes)
        return digest_of(statement)

    # The test result is last, and names the others: where it is, they are, and none can be exchanged.
    sbom = say(BOM, list_contents(build, digest, licences))
    provenance = say(PROVENANCE, describe_build(build, sbom))
    say(TEST_RESULT, describe_proof(proof, tags.all, {PROVENANCE: provenance, BOM: sbom}))
    for tag in tags.all:
        promote(registry, repository, digest, tag, lock_folder)
    return f"{repository}:{tags.moving}"
