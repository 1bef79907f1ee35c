"""The stamp: tags for an accepted candidate, in the engine and in a registry, and the evidence beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from scripts.errors import ConfigError, Undecided
from scripts.matrix import Tags, compose_tags
from scripts.oci.descriptor import Descriptor, describe, digest_of
from scripts.oci.layout import Layout
from scripts.plan import PlannedCell
from scripts.publish.attach import Entry, attach, list_attached
from scripts.publish.promote import look_again, promote, push_candidate, withdraw_tag
from scripts.publish.proof import Proof, describe_proof
from scripts.reference import Repository
from scripts.registry.client import Registry

if TYPE_CHECKING:
    from scripts.attest.keyless import KeylessSigner

NAMESPACE = "hallmark"


@dataclass(frozen=True)
class Dossier:
    """What is said of a candidate in a registry, and what signs it, if anything does."""

    tags: Tags
    proof: Proof
    build: Build
    licences: Licences
    signer: Signer | KeylessSigner | None = None


def name_tags(planned: PlannedCell, build_id: str) -> Tags:
    """The tags of a planned cell: `cpu`, `0.28.0-cpu`, and `0.28.0-cpu-<12 digits of the build id>`."""
    return compose_tags(planned.cell, planned.recipe.version if planned.recipe else "", build_id)


def name_repository(registry_name: str, image: str) -> Repository:
    """An image's repository under HALLMARK_REGISTRY. Raises ConfigError for a name that no registry could have."""
    return Repository.parse(f"{registry_name}/{image}")


def stamp_engine(engine: Engine, digest: str, tags: Tags) -> str:
    """Point all tags at the digest, in the engine, unless they do already; returns the reference with the version."""
    for tag in tags.all:
        reference = f"{NAMESPACE}/{tags.image}:{tag}"
        if digest_of_tag(engine, reference) != digest:
            set_tag(engine, digest, reference)
    return f"{NAMESPACE}/{tags.image}:{tags.versioned}"


def withdraw(engine: Engine, digest: str, tags: Tags) -> list[str]:
    """Take a cell's tags off a digest that is not (or no longer) accepted; returns those that it had.

    The tags of other GPUs stay: what this digest did on one says nothing of another.
    """
    place = f"{NAMESPACE}/{tags.image}:"
    gone = [tag for tag in tags_of(engine, digest) if tag.startswith(place) and tags.own(tag.removeprefix(place))]
    for tag in gone:
        remove_image(engine, tag)
    return gone


def stamp_registry(
    registry: Registry, repository: Repository, layout: Layout, dossier: Dossier, lock_folder: Path
) -> str:
    """Push the candidate by digest, and go on as `stamp_candidate`."""
    push_candidate(registry, repository, layout)
    return stamp_candidate(registry, repository, layout.manifest, dossier, lock_folder)


def stamp_candidate(
    registry: Registry, repository: Repository, image: Descriptor, dossier: Dossier, lock_folder: Path
) -> str:
    """Attach its evidence to a candidate that is there, then promote its tags; returns the reference with the version.

    All is looked at once more at the end: another machine may have promoted, retired or attached something meanwhile.
    Raises Overtaken where a tag names something else by then, and ConfigError for a cell that was retired.
    """
    tags, digest = dossier.tags, image.digest
    entries = _attach_all(registry, repository, image, dossier, lock_folder)
    promote(registry, repository, digest, tags.fixed, lock_folder, fixed=True)
    try:
        for tag in tags.moving:
            promote(registry, repository, digest, tag, lock_folder)
        for tag in tags.moving:
            look_again(registry, repository, digest, tag)
    except ConfigError as retired:
        # It was retired meanwhile, by somebody who may have looked before the other tag was set.
        for tag in tags.moving:
            withdraw_tag(registry, repository, tag, digest, retired.problems[0].cause, lock_folder)
        raise
    list_attached(registry, repository, image, entries, lock_folder)
    return f"{repository}:{tags.versioned}"


def withdraw_registry(
    registry: Registry, repository: Repository, digest: str, dossier: Dossier, reason: str, lock_folder: Path
) -> list[str]:
    """Take the moving tags off a digest that was rejected, and attach the evidence against it where it has a tag.

    Returns the tags that it had. The fixed one stays, as was promised: whoever verifies it meets the newer result.
    Where one tag cannot be taken off, the other is all the same, and then what kept the first is raised.
    """
    tags = dossier.tags
    named = [tag for tag in tags.all if (held := registry.get_manifest(repository, tag)) and held.digest == digest]
    failures: list[Undecided] = []
    for tag in tags.moving:
        try:
            withdraw_tag(registry, repository, tag, digest, reason, lock_folder)
        except Undecided as failure:
            failures.append(failure)
    if failures:
        raise Undecided([problem for failure in failures for problem in failure.problems])
    if named and (image := registry.get_manifest(repository, digest)):
        _attach_all(registry, repository, describe(image.data, image.media_type), dossier, lock_folder)
    return named


def _attach_all(
    registry: Registry, repository: Repository, image: Descriptor, dossier: Dossier, lock_folder: Path
) -> Sequence[Entry]:
    """Attach every statement about an image that is there; what had to be listed, as `list_attached` takes it."""
    entries: list[Entry] = []

    def say(predicate_type: str, predicate: Mapping[str, Any]) -> str:
        """Attach a statement about the candidate; the digest of its bytes."""
        statement = make_statement(str(repository), image.digest, predicate_type, predicate)
        sealed = seal_statement(statement, predicate_type, dossier.signer)
        kinds = (sealed.artifact_type, sealed.data, sealed.media_type)
        entry, noted = attach(registry, repository, image, *kinds, sealed.notes)
        if not noted:
            entries.append(entry)
        return digest_of(statement)

    # The test result names what comes before it, and the summary all: where one is, those are that it speaks of.
    sbom = say(BOM, list_contents(dossier.build, image.digest, dossier.licences))
    provenance = say(PROVENANCE, describe_build(dossier.build, sbom))
    proof = describe_proof(dossier.proof, dossier.tags.all, {PROVENANCE: provenance, BOM: sbom})
    read = (say(TEST_RESULT, proof), provenance, sbom)
    asked = (dossier.proof.cell.id, dossier.proof.required, proof["result"] != "FAILED", proof["finished"])
    say(SUMMARY, summarise(str(repository), image.digest, *asked, read))
    list_attached(registry, repository, image, entries, lock_folder)
    return entries
