"""The blobs of an image that a registry has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.errors import Undecided
from scripts.oci.descriptor import Descriptor, unreadable
from scripts.oci.image import OciImage, find_manifest
from scripts.oci.tar import Source
from scripts.reference import Repository
from scripts.registry.client import Manifest, Registry

# The forms before OCI's, which no registry converts any more.
_LEGACY = "application/vnd.docker.distribution.manifest.v1"


@dataclass(frozen=True)
class RegistryStore:
    """An image's blobs as streams that are hashed as they pass; raises what the client raises."""

    registry: Registry
    repository: Repository

    def read_manifest(self, blob: Descriptor) -> bytes:
        found = self.registry.get_manifest(self.repository, blob.digest)
        if found is None:
            place = f"{self.repository}@{blob.digest}"
            raise unreadable("its index names a manifest that the registry does not have", place)
        return found.data

    @contextmanager
    def open(self, blob: Descriptor) -> Iterator[Source]:
        with self.registry.open_blob(self.repository, blob.digest, blob.size) as stream:
            yield stream


def find_image(registry: Registry, repository: Repository, reference: str, place: str) -> tuple[Manifest, OciImage]:
    """What a tag or a digest names, and the image for linux/amd64 under it. Raises Undecided where there is none."""
    found = registry.get_manifest(repository, reference)
    if found is None:
        raise Undecided("the registry has no such image", place, "check the name and the tag, or `docker login`")
    if found.media_type.startswith(_LEGACY):
        raise unreadable(f"a manifest of the type {found.media_type}, from before 2017", place)
    top = Descriptor(found.digest, len(found.data), found.media_type)
    return found, find_manifest(found.data, top, RegistryStore(registry, repository).read_manifest, place)
