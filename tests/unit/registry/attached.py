"""One payload attached to an image, and listed where the registry keeps no list."""

from __future__ import annotations

from pathlib import Path

from scripts.oci.descriptor import Descriptor
from scripts.publish.attach import attach, list_attached
from scripts.reference import Repository
from scripts.registry.client import Registry


def attach_one(
    registry: Registry,
    repository: Repository,
    subject: Descriptor,
    kind: str,
    payload: bytes,
    media_type: str,
    locks: Path,
) -> str:
    """The digest of the artifact."""
    entry, noted = attach(registry, repository, subject, kind, payload, media_type)
    list_attached(registry, repository, subject, [] if noted else [entry], locks)
    return str(entry["digest"])
