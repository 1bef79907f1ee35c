"""Evidence beside an image: artifact manifests that name it as their subject, found again through its digest.

Format: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests-with-subject
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.errors import Undecided
from scripts.files import canonical_json, parse_json
from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor, describe
from scripts.publish.promote import hold_tag, move_tag, push_blob, put_exact, read_tag
from scripts.registry.client import Manifest, Registry
from scripts.registry.reference import Repository

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def attach(
    registry: Registry,
    repository: Repository,
    subject: Descriptor,
    artifact_type: str,
    payload: bytes,
    payload_media_type: str,
    lock_folder: Path,
    annotations: Mapping[str, str] | None = None,
) -> str:
    """Attach a payload to an image that is in the registry; the digest of the artifact's manifest. Raises Undecided.

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
    if not noted:  # no referrers API there: an index under a tag that is made from the subject's digest stands in
        entry = describe(artifact.data, OCI_MANIFEST).to_json() | {"artifactType": artifact_type} | notes
        _list_under_tag(registry, repository, subject.digest.replace(":", "-"), entry, lock_folder)
    return artifact.digest


def _list_under_tag(
    registry: Registry, repository: Repository, tag: str, entry: dict[str, Any], lock_folder: Path
) -> None:
    """Add an entry to the index under a tag, unless it is listed; the index is made where there is none."""
    with hold_tag(lock_folder, f"{repository}:{tag}"):
        old = read_tag(registry, repository, tag)
        index: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        try:
            index = parse_json(old.data) if old else index
            listed = [manifest["digest"] for manifest in index["manifests"]]
        except (ValueError, KeyError, TypeError) as error:
            cause = "the tag that lists what is attached holds something that is no index"
            raise Undecided(cause, f"{repository}:{tag}", "see who wrote it, and delete the tag") from error
        if entry["digest"] not in listed:
            index = {**index, "manifests": [*index["manifests"], entry]}
            move_tag(registry, repository, tag, Manifest(canonical_json(index), OCI_INDEX), old)
