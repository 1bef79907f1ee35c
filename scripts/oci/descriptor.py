"""Descriptors: how manifests and indexes name bytes; the media types, and the JSON documents that stand around them.

Format: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from scripts.errors import Undecided
from scripts.files import parse_json

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = f"{LAYER_TAR}+gzip"
LAYER_ZSTD = f"{LAYER_TAR}+zstd"

LARGEST_JSON = 1 << 22  # bytes: what registries take for a manifest

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Descriptor:
    """Some bytes by their digest (`sha256:` and 64 hexadecimal digits), their number and their media type."""

    digest: str
    size: int
    media_type: str

    @property
    def path(self) -> str:
        """Where a layout keeps these bytes, relative to its folder."""
        return f"blobs/{self.digest.replace(':', '/')}"

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest or an index; `parse_descriptor` gives the same back."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def describe(data: bytes, media_type: str) -> Descriptor:
    """The descriptor of some bytes."""
    return Descriptor(digest_of(data), len(data), media_type)


def digest_of(data: bytes) -> str:
    """The digest of some bytes: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(value: object) -> bool:
    """Whether a value is a digest in the one form that is taken, which also makes it safe as the name of a file."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def parse_descriptor(entry: object) -> Descriptor:
    """A descriptor from its JSON value. Raises ValueError, with a cause for people, for anything else."""
    fields = entry if isinstance(entry, dict) else {}
    digest, size, media_type = fields.get("digest"), fields.get("size"), fields.get("mediaType") or ""
    if not is_digest(digest):
        raise ValueError(f"{str(digest)[:100]!r} where a sha256 digest belongs")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise ValueError(f"{str(size)[:100]!r} where a size in bytes belongs")
    if not isinstance(media_type, str):
        raise ValueError(f"{str(media_type)[:100]!r} where a media type belongs")
    return Descriptor(str(digest), size, media_type)


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    try:
        value = parse_json(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def unreadable(cause: str, place: str) -> Undecided:
    """The error for an image whose parts do not make one."""
    return Undecided(f"not an image that can be read: {cause}", place, "check the name; build or pull the image again")
