"""An image of the local engine: listed from inside where it has a Python, else read from the engine's own export."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from docker.errors import APIError, ImageNotFound

from scripts.audit.archive import Archive, Source
from scripts.audit.blobs import Checked
from scripts.audit.layers import Layer, Prepended, scan_layer
from scripts.audit.library import Library
from scripts.audit.listing import list_inside
from scripts.audit.manifest import LARGEST_JSON, check_config, find_manifest, unreadable
from scripts.audit.merge import merge_layers
from scripts.build.layout import Blob
from scripts.engine import Engine
from scripts.errors import HallmarkError, Undecided
from scripts.files import format_size

_BLOB = re.compile(r"(?:\./)?blobs/sha256/([0-9a-f]{64})")
_MOST_JSON = 1 << 26  # bytes kept of all manifests and configurations together


@dataclass(frozen=True)
class LocalImage:
    """An image of the engine: `digest` is what the engine knows it by, a manifest's or an index's."""

    digest: str
    libraries: list[Library]


def find_local(engine: Engine, name: str) -> str | None:
    """The digest of the image that the engine has under a name, a digest or a prefix of it; None where it has none."""
    image = _get(engine, name)
    return str(image.id) if image is not None else None


def read_local(engine: Engine, name: str, update: Callable[[str], None] = lambda text: None) -> LocalImage:
    """The libraries of an image that the engine has. Raises Undecided where it has none, fails, or exports damage."""
    image = _get(engine, name)
    if image is None:
        raise Undecided("the engine has no such image", name, f"docker pull {name}")
    digest = str(image.id)
    # A volume hides what the image has there: such a file system is not the image's.
    libraries = None if (image.attrs.get("Config") or {}).get("Volumes") else list_inside(engine, digest, update)
    return LocalImage(digest, read_export(engine, digest, update) if libraries is None else libraries)


def read_export(engine: Engine, digest: str, update: Callable[[str], None]) -> list[Library]:
    """The libraries of an image from the archive that `docker save` gives, read once as it comes; keeps nothing.

    Raises Undecided where the engine fails or exports something else.
    """
    place = f"export of {digest}"
    with engine.explaining():
        export = _Export(place)
        export.read(Archive(_Chunks(engine.client.api.get_image(digest), update), place))
        return export.libraries()


def _get(engine: Engine, name: str) -> Any:
    with engine.explaining():
        try:
            return engine.client.images.get(name)
        except ImageNotFound:
            return None
        except APIError as error:
            if error.status_code == 400:  # not a name that an image could have
                return None
            raise


@dataclass
class _Export:
    """What an exported layout holds. Which blobs are ours is known at its end, so each is read for what it seems."""

    place: str
    index: bytes = b""
    documents: dict[str, bytes] = field(default_factory=dict)
    layers: dict[str, Layer | HallmarkError] = field(default_factory=dict)

    def read(self, archive: Archive) -> None:
        for member, content in archive:
            if match := _BLOB.fullmatch(member.name):
                if member.kind == "file":
                    self._read_blob(Blob(f"sha256:{match[1]}", member.size, ""), content)
            elif member.name.removeprefix("./") == "index.json":
                self.index = content.read(LARGEST_JSON)

    def libraries(self) -> list[Library]:
        if not self.index:
            cause = "the engine exported no OCI layout"
            raise Undecided(cause, self.place, "use an engine of version 26 or newer with the containerd image store")
        manifest = find_manifest(self.index, "", self._document, self.place, is_layout=True)
        check_config(self._document(manifest.config), self.place)
        return merge_layers([self._layer(blob) for blob in manifest.layers], self.place)

    def _read_blob(self, blob: Blob, content: Source) -> None:
        source = Checked(content, blob, self.place)
        try:
            start = source.read(512)
            if start.lstrip().startswith(b"{") and start[257:262] != b"ustar":
                kept = sum(map(len, self.documents.values()))
                if kept + blob.size <= _MOST_JSON:
                    self.documents[blob.digest] = start + source.read(blob.size)
            else:
                self.layers[blob.digest] = scan_layer(Prepended(start, source), f"{self.place}, layer {blob.digest}")
        except HallmarkError as error:  # counts where it turns out that the image has this layer
            self.layers[blob.digest] = error

    def _document(self, blob: Blob) -> bytes:
        data = self.documents.get(blob.digest)
        if data is None:
            raise self._missing(blob)
        return data

    def _layer(self, blob: Blob) -> Layer:
        layer = self.layers.get(blob.digest)
        if layer is None:
            raise self._missing(blob)
        if isinstance(layer, HallmarkError):
            raise layer
        return layer

    def _missing(self, blob: Blob) -> Undecided:
        return unreadable(f"the engine did not export {blob.digest}", self.place)


class _Chunks:
    """What an iterator of bytes yields, as a stream; tells how much has come."""

    def __init__(self, chunks: Iterator[bytes], update: Callable[[str], None]) -> None:
        self._chunks = chunks
        self._update = update
        self._waiting = memoryview(b"")
        self._received = 0

    def read(self, size: int, /) -> bytes:
        parts = []
        while size:
            if not self._waiting:
                self._waiting = memoryview(next(self._chunks, b""))
                self._received += len(self._waiting)
                self._update(f"{format_size(self._received)} of the engine's export read")
            if not self._waiting:
                break
            parts.append(self._waiting[:size])
            self._waiting = self._waiting[size:]
            size -= len(parts[-1])
        return b"".join(parts)
