"""OCI image layouts: the form in which a candidate leaves BuildKit and waits for its verdict.

A failed or killed build can leave an empty or truncated layout, so none is believed before `verify` has hashed it.
Source of the format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.errors import BuildFailed
from scripts.files import sha256_file


@dataclass(frozen=True)
class Blob:
    """A descriptor: digest (`sha256:…`), size in bytes and media type."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True)
class Layout:
    """One image in an OCI layout folder, known by its manifest's digest."""

    folder: Path
    manifest: Blob

    @classmethod
    def open(cls, folder: Path) -> Layout:
        """The folder's only image. Raises BuildFailed where the index is missing, truncated or holds several."""
        try:
            index = json.loads((folder / "index.json").read_bytes())
            [entry] = index["manifests"]
            return cls(folder, _descriptor(entry))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BuildFailed(
                f"not a complete OCI layout ({type(error).__name__}: {error})", str(folder), "build the cell again"
            ) from error

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def blob_path(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        return self.folder / "blobs" / algorithm / value

    def read_manifest(self) -> dict[str, Any]:
        return _object(self.blob_path(self.digest).read_bytes())

    def read_config(self) -> dict[str, Any]:
        return _object(self.blob_path(self.config.digest).read_bytes())

    @property
    def config(self) -> Blob:
        return _descriptor(self.read_manifest()["config"])

    @property
    def layers(self) -> tuple[Blob, ...]:
        return tuple(_descriptor(layer) for layer in self.read_manifest()["layers"])

    @property
    def size(self) -> int:
        """Compressed bytes: what a pull transfers."""
        return self.config.size + sum(layer.size for layer in self.layers)

    def has_all_bytes(self) -> bool:
        """Whether every blob is there in its full size: a quick look at what `verify` has hashed before."""
        try:
            blobs = (self.manifest, self.config, *self.layers)
            return all(self.blob_path(blob.digest).stat().st_size == blob.size for blob in blobs)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def verify(self) -> None:
        """Re-hash every blob. Raises BuildFailed that names each one that is missing, cut short or altered."""
        bad = [why for blob in (self.manifest,) if (why := self._fault(blob))]
        if not bad:
            bad = [why for blob in (self.config, *self.layers) if (why := self._fault(blob))]
        if bad:
            raise BuildFailed("; ".join(bad), str(self.folder), "build the cell again")

    def _fault(self, blob: Blob) -> str:
        path = self.blob_path(blob.digest)
        if not path.is_file():
            return f"blob {blob.digest} is missing"
        if path.stat().st_size != blob.size:
            return f"blob {blob.digest} has {path.stat().st_size} of {blob.size} bytes"
        found = f"sha256:{sha256_file(path)}"
        return "" if found == blob.digest else f"blob {blob.digest} hashes to {found}"


def _descriptor(entry: dict[str, Any]) -> Blob:
    return Blob(str(entry["digest"]), int(entry["size"]), str(entry["mediaType"]))


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value
