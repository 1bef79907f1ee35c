"""From a candidate to a tag: send, read back, re-hash, and put the old tag back where anything differs.

A registry has no compare-and-swap, so whoever moves a tag holds a lock on this machine; two machines that promote the
same tag need the caller's own order (CI: one promoting job at a time).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import ConfigError, Problem, Undecided
from scripts.files import content_id
from scripts.locks import hold
from scripts.oci.layout import Layout
from scripts.registry.client import Manifest, Registry
from scripts.registry.failures import DigestMismatch, RegistryRefused
from scripts.registry.reference import Repository, check_digest, check_tag
from scripts.registry.withdrawn import make_withdrawal, read_withdrawal

BACK_IN_SERVICE = "exclude the cell in matrix.toml, or put it back: nox -s retire -- CELL --undo --reason …"
_AGAIN = "run the same command again"
PATIENCE_S = 600.0  # a promotion takes a few seconds, but its registry may be asked again and again


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


def promote(registry: Registry, repository: Repository, digest: str, tag: str, lock_folder: Path) -> Promotion:
    """Point a tag at a candidate that is in the registry. Raises Undecided, and then says what the tag holds.

    Raises ConfigError for the tag of a cell that was retired, which stays as it is.
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
        move_tag(registry, repository, tag, candidate, previous)
        return Promotion(reference, digest, previous.digest if previous else None, changed=True)


def withdraw_tag(
    registry: Registry, repository: Repository, tag: str, digest: str, reason: str, lock_folder: Path
) -> bool:
    """Let a tag that names this digest say that it was withdrawn, and why; whether it named it. Raises Undecided."""
    with hold_tag(lock_folder, f"{repository}:{check_tag(tag)}"):
        held = read_tag(registry, repository, tag)
        if held is None or held.digest != digest:
            return False
        move_tag(registry, repository, tag, make_withdrawal(digest, reason), held)
        return True


def refuse_retired(held: Manifest | None, reference: str) -> None:
    """Raise ConfigError where what a tag holds says that its cell was retired."""
    withdrawn = read_withdrawal(held) if held else None
    if withdrawn and withdrawn.retired:
        raise ConfigError(f"{withdrawn.reason} ({withdrawn.when})", reference, BACK_IN_SERVICE)


@contextmanager
def hold_tag(folder: Path, reference: str) -> Iterator[None]:
    """Hold the lock of `repository:tag`. Raises Undecided where another process keeps it, or the folder is not ours."""
    path = folder / f"{content_id(reference)}.lock"
    mend = "make the folder writable for whoever promotes"
    with hold(path, f"another promotion of {reference}", patience_s=PATIENCE_S, mend=mend):
        yield


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


def put_exact(registry: Registry, repository: Repository, reference: str, manifest: Manifest) -> str:
    """Write a manifest under a digest or a tag and read it back; the subject that the registry took note of, or `""`.

    Raises DigestMismatch where other bytes, or none, come back.
    """
    subject = registry.put_manifest(repository, reference, manifest)
    _read_back(registry, repository, reference, manifest)
    return subject


def read_tag(registry: Registry, repository: Repository, tag: str) -> Manifest | None:
    """What a tag holds, or None. Raises Undecided where it cannot be put back later: its bytes have no such digest."""
    manifest = registry.get_manifest(repository, tag)
    if manifest and not registry.get_manifest(repository, manifest.digest):
        cause = f"the tag's bytes hash to {manifest.digest}, and the registry has no manifest of that digest"
        raise DigestMismatch(cause, _place(repository, tag), "run the same command again; if it stays, delete the tag")
    return manifest


def move_tag(registry: Registry, repository: Repository, tag: str, new: Manifest, old: Manifest | None) -> None:
    """Write a tag and read it back, or put the old bytes back and raise. The caller holds the tag's lock."""
    sent = False
    try:
        registry.put_manifest(repository, tag, new)
        sent = True
        _read_back(registry, repository, tag, new, old)
    except Undecided as failure:
        if isinstance(failure, RegistryRefused) and not sent:
            raise  # it said no to writing (no right to, or tags never move there): the tag is as it was
        raise type(failure)([*failure.problems, _put_back(registry, repository, tag, old, new)]) from failure


def _put_back(registry: Registry, repository: Repository, tag: str, old: Manifest | None, new: Manifest) -> Problem:
    """Give a tag its old bytes, or remove it where it had none; what came of it, in words.

    Where a registry cannot delete a tag, it is withdrawn: it then names no image, and says so.
    """
    place = _place(repository, tag)
    try:
        if old:
            put_exact(registry, repository, tag, old)
            return Problem(f"the tag was put back to {old.digest}", place, _AGAIN)
        registry.delete_tag(repository, tag)
        if registry.get_manifest(repository, tag) is None:
            return Problem("the tag did not exist before and does not now", place, _AGAIN)
        withdrawn = make_withdrawal(new.digest, "what was written was not what was read back")
        put_exact(registry, repository, tag, withdrawn)
        cause = "the tag did not exist before; the registry cannot delete one, so it is withdrawn"
        return Problem(cause, place, _AGAIN)
    except Undecided as failure:
        why = failure.problems[0].cause
    before = f"it held {old.digest}" if old else "it did not exist"
    return Problem(
        f"THE TAG IS NOT TO BE TRUSTED: it could not be put back ({why}); before, {before}",
        place,
        "put it back by hand before anyone pulls it",
    )


def _read_back(
    registry: Registry, repository: Repository, reference: str, manifest: Manifest, old: Manifest | None = None
) -> None:
    found = registry.get_manifest(repository, reference)
    if found is None or found.data != manifest.data:
        seen = found.digest if found else "nothing"
        cause = f"{manifest.digest} was written and {seen} was read back"
        unmoved = found is not None and old is not None and found.data == old.data
        step = "it is what the tag held before: ask who runs the registry whether tags move there" if unmoved else ""
        raise DigestMismatch(cause, _place(repository, reference), step)


def _place(repository: Repository, reference: str) -> str:
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"
