"""From a candidate to a tag: send, read back, re-hash, and put the old tag back where anything differs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.errors import ConfigError, Undecided
from scripts.oci.layout import Layout
from scripts.publish.move import hold_tag, insist, move_tag, put_exact, read_tag, tell_overtaken
from scripts.reference import Repository, check_digest, check_tag
from scripts.registry.client import Manifest, Registry
from scripts.registry.failures import DigestMismatch
from scripts.registry.withdrawn import make_withdrawal, read_withdrawal

BACK_IN_SERVICE = "exclude the cell in matrix.toml, or put it back: nox -s retire -- CELL --undo --reason …"


@dataclass(frozen=True)
class Promotion:
    """A tag that was read back and found right: its reference, and the digests it names now and named before."""

    reference: str
    digest: str
    previous: str | None
    changed: bool


def push_candidate(registry: Registry, repository: Repository, layout: Layout) -> str:
    """Send a layout's blobs and its manifest by digest, no tag; return the digest. Raises BuildFailed, Undecided.

    The manifest goes last, after every blob was read back and hashed, so a manifest that is there vouches for its
    blobs: then they are only looked for, and nothing is sent.
    """
    layout.verify()
    manifest = Manifest(layout.blob_path(layout.digest).read_bytes(), layout.manifest.media_type)
    blobs = dict.fromkeys((layout.config, *layout.layers))
    if _has_manifest(registry, repository, layout.digest) and all(
        registry.has_blob(repository, blob.digest, blob.size) for blob in blobs
    ):
        return layout.digest
    for blob in blobs:
        push_blob(registry, repository, blob.digest, layout.blob_path(blob.digest))
    put_exact(registry, repository, layout.digest, manifest)
    return layout.digest


def promote(
    registry: Registry, repository: Repository, digest: str, tag: str, lock_folder: Path, *, fixed: bool = False
) -> Promotion:
    """Point a tag at a candidate that is in the registry. Raises Undecided, and then says what the tag holds.

    A `fixed` tag that names another image is left alone. Raises ConfigError for the tag of a cell that was retired,
    which stays as it is.
    """
    reference = f"{repository}:{check_tag(tag)}"
    with hold_tag(lock_folder, reference):
        candidate = registry.get_manifest(repository, check_digest(digest))
        if candidate is None:
            raise Undecided("no such candidate in the registry", f"{repository}@{digest}", "push the candidate first")
        previous = read_tag(registry, repository, tag)
        refuse_retired(previous, reference)
        if previous and previous.data == candidate.data:
            return Promotion(reference, digest, previous.digest, changed=False)
        if fixed and previous and not read_withdrawal(previous):
            cause = f"it names {previous.digest}, another image of the same build, and never moves"
            raise Undecided(cause, reference, "see which of the two is right: nox -s reproduce -- CELL")
        move_tag(registry, repository, tag, candidate, previous, read_withdrawal if fixed else None)
        return Promotion(reference, digest, previous.digest if previous else None, changed=True)


def withdraw_tag(
    registry: Registry, repository: Repository, tag: str, digest: str, reason: str, lock_folder: Path
) -> bool:
    """Let a tag that names this digest say that it was withdrawn, and why; whether it named it. Raises Undecided."""

    def step() -> bool:
        held = read_tag(registry, repository, tag)
        if held is None or held.digest != digest:
            return False
        move_tag(registry, repository, tag, make_withdrawal(digest, reason), held)
        return True

    with hold_tag(lock_folder, f"{repository}:{check_tag(tag)}"):
        return insist(step)


def look_again(registry: Registry, repository: Repository, digest: str, tag: str) -> None:
    """Raise Overtaken unless a tag that was set still names its digest, and ConfigError where it was retired."""
    held = registry.get_manifest(repository, tag)
    refuse_retired(held, f"{repository}:{tag}")
    if held is None or held.digest != digest:
        raise tell_overtaken(repository, tag, held)


def refuse_retired(held: Manifest | None, reference: str) -> None:
    """Raise ConfigError where what a tag holds says that its cell was retired."""
    withdrawn = read_withdrawal(held) if held else None
    if withdrawn and withdrawn.retired:
        raise ConfigError(f"{withdrawn.reason} ({withdrawn.when})", reference, BACK_IN_SERVICE)


def push_blob(registry: Registry, repository: Repository, digest: str, source: Path | bytes) -> None:
    """Send a blob unless it is there, and read it back. Raises DigestMismatch for one that the registry spoilt."""
    registry.upload_blob(repository, digest, source)
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    found = registry.hash_blob(repository, digest, size)
    if found != digest:
        raise DigestMismatch(f"the registry serves a blob of other bytes ({found})", f"{repository}@{digest}")


def _has_manifest(registry: Registry, repository: Repository, digest: str) -> bool:
    """Whether a manifest is there. Other bytes under its digest are none: it is sent again, and read back."""
    try:
        return registry.get_manifest(repository, digest) is not None
    except DigestMismatch:
        return False
