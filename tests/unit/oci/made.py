"""Layers, layouts and images made in memory."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import zstandard

from scripts.errors import HallmarkError
from scripts.oci.descriptor import LAYER_TAR, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, digest_of
from scripts.oci.layer import scan_layer
from scripts.oci.tar import Source, TarMember

PLAIN = b"thing" + Random(1).randbytes(18_895)
SEVERAL = b"thing" + Random(2).randbytes(995)
HOST = Random(3).randbytes(2000)

_TYPES = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "folder": tarfile.DIRTYPE, "pipe": tarfile.FIFOTYPE}
Entry = tuple[str, bytes] | tuple[str, str, str]


@dataclass(frozen=True)
class Thing:
    """What the visitor of these tests keeps: files that start with "thing", and what is sparse."""

    path: str
    data: bytes = PLAIN


def keep_thing(path: str, member: TarMember, content: Source) -> Thing | None:
    if member.kind == "sparse":
        return Thing(path, b"sparse")
    data = b""
    while chunk := content.read(1 << 16):
        data += chunk
    return Thing(path, data) if data.startswith(b"thing") else None


def rename_thing(thing: Thing, path: str) -> Thing:
    return replace(thing, path=path)


def make_tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of files (name, bytes) and others (name, kind, target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, *rest in entries:
            info = tarfile.TarInfo(name)
            if isinstance(rest[0], bytes):
                info.size = len(rest[0])
                tar.addfile(info, io.BytesIO(rest[0]))
            else:
                info.type, info.linkname = _TYPES[rest[0]], str(rest[1])
                tar.addfile(info)
    return stream.getvalue()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd}


def find_diff_id(layer: bytes) -> str:
    """The digest of a layer's plain bytes; of one that is no layer, of the bytes that there are."""
    try:
        return scan_layer(io.BytesIO(layer), "made layer", lambda path, member, content: None).diff_id
    except HallmarkError:
        return digest_of(layer)


@dataclass
class MadeImage:
    """The blobs of an image, and its index.json."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    index: dict[str, Any] = field(default_factory=dict)

    def keep(self, data: bytes, media_type: str, **fields: Any) -> dict[str, Any]:
        self.blobs[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **fields}

    def add(
        self,
        layers: Sequence[bytes],
        architecture: str = "amd64",
        diff_ids: Sequence[str] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """An image of these layers; gives the descriptor of its manifest."""
        diff_ids = [find_diff_id(layer) for layer in layers] if diff_ids is None else diff_ids
        rootfs = {"type": "layers", "diff_ids": diff_ids}
        config = {"os": "linux", "architecture": architecture, "rootfs": rootfs}
        manifest = {
            "schemaVersion": 2,
            "config": self.keep(json.dumps(config).encode(), OCI_CONFIG),
            "layers": [self.keep(layer, LAYER_TAR) for layer in layers],
        }
        return self.keep(json.dumps(manifest).encode(), OCI_MANIFEST, **fields)

    def add_index(self, *entries: dict[str, Any]) -> dict[str, Any]:
        return self.keep(json.dumps({"manifests": entries}).encode(), OCI_INDEX)

    def write(self, folder: Path, *entries: dict[str, Any]) -> Path:
        """An OCI layout."""
        blobs = folder / "blobs/sha256"
        blobs.mkdir(parents=True)
        for digest, data in self.blobs.items():
            (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        (folder / "index.json").write_text(json.dumps({"manifests": entries}))
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return folder

    def export(self, *entries: dict[str, Any]) -> bytes:
        """The archive that `docker save` writes of a layout."""
        files: list[Entry] = [("blobs/", "folder", ""), ("blobs/sha256/", "folder", "")]
        files += [(f"blobs/{digest.replace(':', '/')}", data) for digest, data in sorted(self.blobs.items())]
        files += [("index.json", json.dumps({"manifests": entries}).encode()), ("manifest.json", b"[]")]
        return make_tar(*files)


def platform(architecture: str, os: str = "linux", **fields: str) -> dict[str, Any]:
    return {"platform": {"os": os, "architecture": architecture, **fields}}


class Trickle:
    """A stream that cannot be sought, and counts what is read."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self.largest = 0

    def read(self, size: int, /) -> bytes:
        self.largest = max(self.largest, size)
        return self._stream.read(size)

    @property
    def is_at_end(self) -> bool:
        return self._stream.read(1) == b""
