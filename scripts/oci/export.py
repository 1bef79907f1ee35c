"""An image read off the archive that `docker save` gives: once, as it comes, and nothing of it is written anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from scripts.errors import HallmarkError, Undecided
from scripts.oci.blobs import Checked
from scripts.oci.decompress import Prepended
from scripts.oci.descriptor import LARGEST_JSON, Descriptor, unreadable
from scripts.oci.image import check_config, check_layers, find_manifest
from scripts.oci.layer import Keep, Layer, Names, scan_layer
from scripts.oci.tar import Source, TarReader

_BLOB = re.compile(r"(?:\./)?blobs/sha256/([0-9a-f]{64})")
MOST_JSON = 1 << 26  # bytes kept of all manifests and configurations together

Kept = TypeVar("Kept")


def read_export(stream: Source, place: str, keep: Keep[Kept]) -> list[Layer[Kept]]:
    """The layers of the image for linux/amd64 in an export, the lowest first.

    Raises Undecided, with `place`, for an export that is cut short, damaged, or holds no such image.
    """
    export = _Export(place, keep)
    export.read(TarReader(stream, place))
    return export.layers_of_image()


@dataclass
class _Export(Generic[Kept]):
    """What an exported layout holds. Which blobs are ours is known at its end, so each is read for what it seems."""

    place: str
    keep: Keep[Kept]
    index: bytes = b""
    documents: dict[str, bytes] = field(default_factory=dict)
    layers: dict[str, Layer[Kept] | HallmarkError] = field(default_factory=dict)
    names: Names = field(default_factory=Names)

    def read(self, reader: TarReader) -> None:
        for member, content in reader:
            if member.kind != "file":
                continue
            if match := _BLOB.fullmatch(member.name):
                self._read_blob(Descriptor(f"sha256:{match[1]}", member.size, ""), content)
            elif member.name.removeprefix("./") == "index.json":
                self.index = content.read(LARGEST_JSON)

    def layers_of_image(self) -> list[Layer[Kept]]:
        if not self.index:
            cause = "no OCI layout in it"
            raise Undecided(cause, self.place, "use an engine of version 26 or newer with the containerd image store")
        image = find_manifest(self.index, None, self._document, self.place)
        diff_ids = check_config(self._document(image.config), image, self.place)
        layers = [self._layer(blob) for blob in image.layers]
        check_layers(layers, image, diff_ids, self.place)
        return layers

    def _read_blob(self, blob: Descriptor, content: Source) -> None:
        source = Checked(content, blob, self.place)
        try:
            start = source.read(512)
            if start.lstrip().startswith(b"{") and start[257:262] != b"ustar":
                kept = sum(map(len, self.documents.values()))
                if kept + blob.size <= MOST_JSON:
                    self.documents[blob.digest] = start + source.read(blob.size)
            else:
                place = f"{self.place}, layer {blob.digest}"
                self.layers[blob.digest] = scan_layer(Prepended(start, source), place, self.keep, self.names)
        except HallmarkError as error:  # counts where it turns out that the image has this layer
            self.layers[blob.digest] = error

    def _document(self, blob: Descriptor) -> bytes:
        data = self.documents.get(blob.digest)
        if data is None:
            raise self._missing(blob)
        return data

    def _layer(self, blob: Descriptor) -> Layer[Kept]:
        layer = self.layers.get(blob.digest)
        if layer is None:
            raise self._missing(blob)
        if isinstance(layer, HallmarkError):
            raise layer
        return layer

    def _missing(self, blob: Descriptor) -> Undecided:
        return unreadable(f"{blob.digest} is not in it", self.place)
