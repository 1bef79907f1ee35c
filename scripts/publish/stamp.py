"""The stamp: tags for an accepted candidate, in the engine and in a registry, and the evidence beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.attest.build import Build, Licences
from scripts.attest.keys import Signer
from scripts.attest.provenance import PROVENANCE, describe_build
from scripts.attest.sbom import BOM, list_contents
from scripts.attest.seal import seal_statement
from scripts.attest.statement import TEST_RESULT, make_statement
from scripts.attest.summary import SUMMARY, summarise
from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, remove_image, set_tag, tags_of
from scripts.oci.descriptor import Descriptor, describe, digest_of
from scripts.oci.layout import Layout
from scripts.plan import PlannedCell
from scripts.publish.attach import attach
from scripts.publish.promote import promote, push_candidate, withdraw_tag
from scripts.publish.proof import Proof, describe_proof
from scripts.registry.client import Registry
from scripts.registry.reference import Repository

if TYPE_CHECKING:
    from scripts.attest.keyless import KeylessSigner

NAMESPACE = "hallmark"


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


@dataclass(frozen=True)
class Dossier:
    """What is said of a candidate in a registry, and what signs it, if anything does."""

    tags: Tags
    proof: Proof
    build: Build
    licences: Licences
    signer: Signer | KeylessSigner | None = None


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
    registry: Registry, repository: Repository, layout: Layout, dossier: Dossier, lock_folder: Path
) -> str:
    """Push the candidate by digest, attach its evidence, then promote both tags; returns the moving one's reference."""
    push_candidate(registry, repository, layout)
    return stamp_candidate(registry, repository, layout.manifest, dossier, lock_folder)


def stamp_candidate(
    registry: Registry, repository: Repository, image: Descriptor, dossier: Dossier, lock_folder: Path
) -> str:
    """Attach its evidence to a candidate that is there, then promote both tags; returns the moving one's reference."""
    _attach_all(registry, repository, image, dossier, lock_folder)
    for tag in dossier.tags.all:
        promote(registry, repository, image.digest, tag, lock_folder)
    return f"{repository}:{dossier.tags.moving}"


def withdraw_registry(
    registry: Registry, repository: Repository, digest: str, dossier: Dossier, reason: str, lock_folder: Path
) -> list[str]:
    """Take the moving tag off a digest that was rejected, and attach the evidence against it where it has a tag.

    Returns the tags that it had. The fixed one stays, as was promised: whoever verifies it meets the newer result.
    """
    tags = dossier.tags
    named = [tag for tag in tags.all if (held := registry.get_manifest(repository, tag)) and held.digest == digest]
    withdraw_tag(registry, repository, tags.moving, digest, reason, lock_folder)
    if named and (image := registry.get_manifest(repository, digest)):
        _attach_all(registry, repository, describe(image.data, image.media_type), dossier, lock_folder)
    return named


def _attach_all(
    registry: Registry, repository: Repository, image: Descriptor, dossier: Dossier, lock_folder: Path
) -> None:
    """Attach every statement about an image that is there."""

    def say(predicate_type: str, predicate: Mapping[str, Any]) -> str:
        """Attach a statement about the candidate; the digest of its bytes."""
        statement = make_statement(str(repository), image.digest, predicate_type, predicate)
        sealed = seal_statement(statement, predicate_type, dossier.signer)
        kinds = (sealed.artifact_type, sealed.data, sealed.media_type)
        attach(registry, repository, image, *kinds, lock_folder, sealed.notes)
        return digest_of(statement)

    # The test result names what comes before it, and the summary all: where one is, those are that it speaks of.
    sbom = say(BOM, list_contents(dossier.build, image.digest, dossier.licences))
    provenance = say(PROVENANCE, describe_build(dossier.build, sbom))
    proof = describe_proof(dossier.proof, dossier.tags.all, {PROVENANCE: provenance, BOM: sbom})
    read = (say(TEST_RESULT, proof), provenance, sbom)
    asked = (dossier.proof.cell.id, dossier.proof.required, proof["result"] != "FAILED", proof["finished"])
    say(SUMMARY, summarise(str(repository), image.digest, *asked, read))
