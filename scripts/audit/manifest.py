"""Which manifest of an index is ours, and which layers it has; nothing here is believed because it is JSON.

Formats: https://github.com/opencontainers/image-spec/blob/main/manifest.md and image-index.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.build.layout import Blob
from scripts.errors import Undecided

PLATFORM = "linux/amd64"
LARGEST_JSON = 1 << 24  # bytes: four times what registries take for a manifest

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DEEPEST = 4  # an index may name indexes
_BASE_VARIANTS = ("", "v1")


@dataclass(frozen=True)
class Manifest:
    """An image for one platform: its manifest's digest, its configuration, and its layers with the lowest first."""

    digest: str
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers, compressed."""
        return sum(layer.size for layer in self.layers)


def find_manifest(
    data: bytes, digest: str, fetch: Callable[[Blob], bytes], place: str, *, is_layout: bool = False
) -> Manifest:
    """The image for linux/amd64 under a manifest or an index, of which `data` are the bytes; `fetch` gets others.

    The index of a layout may name several images; that they are one is checked. Raises Undecided, with `place`, where
    there is no such image, or what is there is no image.
    """
    for depth in range(_DEEPEST):
        document = read_json(data, place)
        if "manifests" not in document:
            return _read_manifest(document, digest, place)
        blob = _choose(document, place, is_layout=is_layout and not depth)
        data, digest = fetch(blob), blob.digest
    raise unreadable(f"more than {_DEEPEST} indexes within each other", place)


def check_config(data: bytes, place: str) -> None:
    """Raise Undecided where an image's configuration says that it is for another platform."""
    config = read_json(data, place)
    found = f"{config.get('os', '')}/{config.get('architecture', '')}"
    if found != PLATFORM:
        raise Undecided(f"the image is for {found}, not for {PLATFORM}", place, f"give an image for {PLATFORM}")


def read_json(data: bytes, place: str) -> dict[str, Any]:
    """A JSON object. Raises Undecided for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise unreadable("not a JSON object", place)
    return value


def unreadable(cause: str, place: str) -> Undecided:
    """The error for an image whose parts do not make one."""
    return Undecided(f"not an image that can be read: {cause}", place, "check the name; build or pull the image again")


def _read_manifest(document: dict[str, Any], digest: str, place: str) -> Manifest:
    layers = document.get("layers")
    if not isinstance(layers, list) or "config" not in document:
        cause = f"a manifest of the kind {document.get('mediaType', 'unknown')!r}, without layers"
        raise unreadable(cause, place)
    config, *blobs = (_descriptor(entry, place) for entry in [document["config"], *layers])
    for blob in blobs:
        if "tar" not in blob.media_type:
            raise unreadable(f"a layer of the type {blob.media_type!r}: this is no container image", place)
    return Manifest(digest, config, tuple(blobs))


def _choose(index: dict[str, Any], place: str, *, is_layout: bool) -> Blob:
    """The entry for linux/amd64, of the processors that every one can stand in for."""
    entries = index["manifests"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise unreadable("an index whose manifests are no list of objects", place)
    by_rank: dict[int, list[Blob]] = {}
    others = set()
    for entry in entries:
        platform = entry.get("platform")
        platform = platform if isinstance(platform, dict) else {}
        name = f"{platform.get('os', '')}/{platform.get('architecture', '')}"
        if name == PLATFORM:
            rank = 0 if platform.get("variant", "") in _BASE_VARIANTS else 2
        elif name == "/":  # nobody said; the configuration will
            rank = 1
        else:
            others.add(name)
            continue
        by_rank.setdefault(rank, []).append(_descriptor(entry, place))
    if not by_rank:
        listed = ", ".join(sorted(others - {"unknown/unknown"})) or "no platform at all"
        raise Undecided(f"no image for {PLATFORM}; there is one for: {listed}", place, f"give an image for {PLATFORM}")
    chosen = by_rank[min(by_rank)]
    if is_layout and len({blob.digest for blob in chosen}) > 1:
        cause = f"{len(chosen)} images in one layout: {', '.join(blob.digest for blob in chosen[:5])}"
        raise Undecided(cause, place, "keep each image in a layout of its own")
    return chosen[0]


def _descriptor(entry: object, place: str) -> Blob:
    fields = entry if isinstance(entry, dict) else {}
    digest, size, media_type = (fields.get(name) for name in ("digest", "size", "mediaType"))
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise unreadable(f"{str(digest)[:100]!r} where a sha256 digest belongs", place)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise unreadable(f"{str(size)[:100]!r} where a size in bytes belongs", place)
    return Blob(digest, size, str(media_type or ""))
