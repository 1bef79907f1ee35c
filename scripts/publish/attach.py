"""Evidence beside an image: artifact manifests that name it as their subject, found again through its digest.

Format: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests-with-subject
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from scripts.errors import Undecided
from scripts.files import canonical_json
from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor, describe, is_digest, parse_object
from scripts.publish.move import hold_tag, insist, move_tag, put_exact, read_tag
from scripts.publish.promote import push_blob
from scripts.reference import Repository
from scripts.registry.client import Manifest, Registry

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"

Entry = dict[str, Any]  # of an index: what it says of one manifest


def attach(
    registry: Registry,
    repository: Repository,
    subject: Descriptor,
    artifact_type: str,
    payload: bytes,
    payload_media_type: str,
    annotations: Mapping[str, str] | None = None,
) -> tuple[Entry, bool]:
    """Attach a payload to an image that is in the registry. Raises Undecided.

    Returns what lists of artifacts say of it, and whether the registry keeps such a list: if not, `list_attached` does.

    The manifest holds no time and no name of the writer: the same payload attached twice is one artifact. Annotations
    stand at the payload, where who reads the manifest looks, and at the manifest, from where lists of artifacts have
    them.
    """
    notes = {"annotations": dict(annotations)} if annotations else {}
    config, layer = describe(_EMPTY, _EMPTY_TYPE), describe(payload, payload_media_type)
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": config.to_json(),
        "layers": [layer.to_json() | notes],
        "subject": subject.to_json(),
        **notes,
    }
    artifact = Manifest(canonical_json(content), OCI_MANIFEST)
    for blob, data in ((config, _EMPTY), (layer, payload)):
        push_blob(registry, repository, blob.digest, data)
    noted = put_exact(registry, repository, artifact.digest, artifact)
    return describe(artifact.data, OCI_MANIFEST).to_json() | {"artifactType": artifact_type} | notes, bool(noted)


def list_attached(
    registry: Registry, repository: Repository, subject: Descriptor, entries: Sequence[Entry], lock_folder: Path
) -> None:
    """List what is attached, unless it is listed, in an index under a tag that is made from the subject's digest.

    It stands in for the referrers API. Another machine may attach something to the same subject: what it has listed
    meanwhile is read, and stays.
    """
    if not entries:
        return
    tag = subject.digest.replace(":", "-")
    place = f"{repository}:{tag}"

    def step() -> None:
        old = read_tag(registry, repository, tag)
        try:
            held = _read_list(old)
        except ValueError as error:
            cause = "the tag that lists what is attached holds something that is no index"
            raise Undecided(cause, place, "see who wrote it, and delete the tag") from error
        listed = {entry["digest"] for entry in held["manifests"]}
        if left := [entry for entry in entries if entry["digest"] not in listed]:
            new = Manifest(canonical_json({**held, "manifests": [*held["manifests"], *left]}), OCI_INDEX)
            move_tag(registry, repository, tag, new, old, partial(_is_list, registry, repository))

    with hold_tag(lock_folder, place):
        insist(step)


def _read_list(held: Manifest | None) -> dict[str, Any]:
    """The index under a tag, an empty one where there is none. Raises ValueError for anything else."""
    empty: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    index = parse_object(held.data) if held else empty
    try:
        right = all(is_digest(entry["digest"]) for entry in index["manifests"])
    except (KeyError, TypeError):
        right = False
    if not right:
        raise ValueError("not an index of manifests")
    return index


def _is_list(registry: Registry, repository: Repository, found: Manifest) -> bool:
    """Whether an index lists what is there: another machine has written it, and no fault."""
    try:
        entries = _read_list(found)["manifests"]
    except ValueError:
        return False
    return all(registry.get_manifest(repository, entry["digest"]) for entry in entries)
