"""Which manifest of an index is ours, and which layers it has; nothing here is believed because it is JSON.

Formats: https://github.com/opencontainers/image-spec/blob/main/manifest.md, image-index.md and config.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from scripts.console import Update
from scripts.errors import Undecided
from scripts.oci.blobs import Store, read_blobs, read_json_blob
from scripts.oci.descriptor import Descriptor, is_digest, parse_descriptor, parse_object, unreadable
from scripts.oci.layer import Keep, Layer, Names, scan_layer
from scripts.oci.tar import Source

PLATFORM = "linux/amd64"

DEEPEST = 4  # an index may name indexes
_BASE_VARIANTS = ("", "v1")

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class OciImage:
    """An image for one platform: its manifest and the bytes of it, its configuration, its layers, the lowest first."""

    manifest: Descriptor
    data: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def size(self) -> int:
        """Bytes of all layers, compressed."""
        return sum(layer.size for layer in self.layers)


class Shelf(Protocol[Kept]):
    """Where layers that were read before are found again, by the digest of their plain bytes."""

    def recall(self, diff_id: str) -> Layer[Kept] | None: ...

    def keep(self, layer: Layer[Kept]) -> None: ...


@dataclass(frozen=True)
class NoShelf(Generic[Kept]):
    """Keeps nothing."""

    def recall(self, diff_id: str) -> Layer[Kept] | None:
        return None

    def keep(self, layer: Layer[Kept]) -> None:
        return


def read_image(
    image: OciImage, store: Store, place: str, keep: Keep[Kept], update: Update, shelf: Shelf[Kept] | None = None
) -> list[Layer[Kept]]:
    """The layers of an image in their order; a blob is read once, and none whose layer is on the shelf.

    Raises Undecided, with `place`, for damage and for a layer whose plain bytes are not those that the configuration
    names; or what the store raises.
    """
    shelf = NoShelf() if shelf is None else shelf
    diff_ids = check_config(read_json_blob(store, image.config, place), image, place)
    known = {diff_id: layer for diff_id in dict.fromkeys(diff_ids) if (layer := shelf.recall(diff_id)) is not None}

    pairs = list(zip(image.layers, diff_ids, strict=True))
    expected = {blob.digest: diff_id for blob, diff_id in pairs}
    names = Names()

    def scan(blob: Descriptor, stream: Source) -> Layer[Kept]:
        layer = scan_layer(stream, f"{place}, layer {blob.digest}", keep, names)
        _check_layer(layer, blob, expected[blob.digest], place)
        shelf.keep(layer)
        return layer

    found = read_blobs([blob for blob, diff_id in pairs if diff_id not in known], store, scan, update)
    layers = [known[diff_id] if diff_id in known else found[blob.digest] for blob, diff_id in pairs]
    check_layers(layers, image, diff_ids, place)  # a blob that is there twice was held against one of its diffIDs
    return layers


def find_manifest(
    data: bytes, top: Descriptor | None, fetch: Callable[[Descriptor], bytes], place: str, digest: str = ""
) -> OciImage:
    """The image for linux/amd64 under a manifest or an index, of which `data` are the bytes; `fetch` gets others.

    `top` describes these bytes; None says that they are the index.json of a layout: it may name several images, and
    that they are one is checked, unless one of them has the `digest`. Raises Undecided, with `place`, where there is no
    such image, or what is there is no image.
    """
    is_layout = top is None
    for depth in range(DEEPEST):
        document = _parse(data, place)
        if "manifests" not in document:
            if top is None:
                raise unreadable("its index.json is no index", place)
            return _read_manifest(document, top, data, place)
        top = _choose(document, place, digest, is_layout=is_layout and not depth)
        data = fetch(top)
    raise unreadable(f"more than {DEEPEST} indexes within each other", place)


def check_config(data: bytes, image: OciImage, place: str) -> list[str]:
    """The diffIDs of an image's layers, from its configuration: the digests of their plain bytes, the lowest first.

    Raises Undecided where it says that it is for another platform, or does not name each layer.
    """
    config = _parse(data, place)
    found = f"{config.get('os', '')}/{config.get('architecture', '')}"
    if found != PLATFORM:
        raise Undecided(f"the image is for {found}, not for {PLATFORM}", place, f"give an image for {PLATFORM}")
    try:
        return read_diff_ids(config, len(image.layers))
    except ValueError as error:
        raise unreadable(str(error), place) from error


def read_diff_ids(config: dict[str, Any], layers: int) -> list[str]:
    """The diffIDs in a configuration. Raises ValueError where they are not one digest for each of so many layers."""
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(map(is_digest, diff_ids)):
        raise ValueError("a configuration without a digest for each layer (rootfs.diff_ids)")
    if len(diff_ids) != layers:
        raise ValueError(f"{layers} layers, and {len(diff_ids)} of them in its configuration (rootfs.diff_ids)")
    return diff_ids


def check_layers(layers: Sequence[Layer[Kept]], image: OciImage, diff_ids: Sequence[str], place: str) -> None:
    """Raise Undecided where the plain bytes of a layer are others than the configuration names."""
    for layer, blob, diff_id in zip(layers, image.layers, diff_ids, strict=True):
        _check_layer(layer, blob, diff_id, place)


def _check_layer(layer: Layer[Kept], blob: Descriptor, diff_id: str, place: str) -> None:
    if layer.diff_id != diff_id:
        cause = f"its plain bytes hash to {layer.diff_id}, and the image's configuration says {diff_id}"
        raise Undecided(cause, f"{place}, layer {blob.digest}", "build or pull the image again")


def _read_manifest(document: dict[str, Any], top: Descriptor, data: bytes, place: str) -> OciImage:
    layers = document.get("layers")
    if not isinstance(layers, list) or "config" not in document:
        cause = f"a manifest of the kind {document.get('mediaType', 'unknown')!r}, without layers"
        raise unreadable(cause, place)
    config, *blobs = (_descriptor(entry, place) for entry in [document["config"], *layers])
    for blob in blobs:
        if "tar" not in blob.media_type:
            raise unreadable(f"a layer of the type {blob.media_type!r}: this is no container image", place)
    return OciImage(top, data, config, tuple(blobs))


def _choose(index: dict[str, Any], place: str, digest: str, *, is_layout: bool) -> Descriptor:
    """The entry of a digest, else that for linux/amd64, of the processors that every one can stand in for."""
    entries = index["manifests"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise unreadable("an index whose manifests are no list of objects", place)
    entries = [entry for entry in entries if digest and entry.get("digest") == digest] or entries
    by_rank: dict[int, list[Descriptor]] = {}
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


def _descriptor(entry: object, place: str) -> Descriptor:
    try:
        return parse_descriptor(entry)
    except ValueError as error:
        raise unreadable(str(error), place) from error


def _parse(data: bytes, place: str) -> dict[str, Any]:
    try:
        return parse_object(data)
    except ValueError as error:
        raise unreadable(str(error), place) from error
