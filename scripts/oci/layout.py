"""OCI image layouts: the form in which a candidate is made and waits for its verdict.

A failed or killed build can leave an empty or truncated layout, so none is believed before `verify` has hashed it.
Source of the format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from scripts.errors import BuildFailed, Undecided
from scripts.files import canonical_json, open_plain, sha256_file, write_atomic
from scripts.oci.blobs import Checked, read_json_blob
from scripts.oci.descriptor import (
    LARGEST_JSON,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    describe,
    is_digest,
    parse_descriptor,
    parse_object,
    unreadable,
)
from scripts.oci.image import read_diff_ids
from scripts.oci.tar import Source

LAYOUT_FILE = canonical_json({"imageLayoutVersion": "1.0.0"})  # what the file `oci-layout` holds


@dataclass(frozen=True)
class Layout:
    """One image in an OCI layout folder, known by its manifest's digest.

    Reading raises BuildFailed for a layout that is damaged in a way that shows without hashing.
    """

    folder: Path
    manifest: Descriptor

    @classmethod
    def open(cls, folder: Path, digest: str = "") -> Layout:
        """The folder's only image, or that of a digest where there are several.

        Raises BuildFailed where the index is missing or truncated, or holds several and none of that digest.
        """
        with _naming_damage(folder):
            entries = parse_object((folder / "index.json").read_bytes())["manifests"]
            [entry] = [each for each in entries if each["digest"] == digest] or entries
            return cls(folder, parse_descriptor(entry))

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def blob_path(self, digest: str) -> Path:
        """The file of a blob. Raises BuildFailed for anything but a digest: no other text leads to a file."""
        if not is_digest(digest):
            raise BuildFailed(f"{digest[:100]!r} is no sha256 digest", str(self.folder), "build the cell again")
        return self.folder / "blobs" / digest.replace(":", "/")

    def read_manifest(self) -> dict[str, Any]:
        with _naming_damage(self.folder):
            return parse_object(self.blob_path(self.digest).read_bytes())

    def read_config(self) -> dict[str, Any]:
        with _naming_damage(self.folder):
            return parse_object(self.blob_path(self.config.digest).read_bytes())

    @property
    def config(self) -> Descriptor:
        with _naming_damage(self.folder):
            return parse_descriptor(self.read_manifest()["config"])

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        with _naming_damage(self.folder):
            return tuple(parse_descriptor(layer) for layer in self.read_manifest()["layers"])

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All that it is made of: its manifest, its configuration, its layers."""
        return self.manifest, self.config, *self.layers

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of the layers' plain bytes, as the configuration has them: one for each layer."""
        with _naming_damage(self.folder):
            return tuple(read_diff_ids(self.read_config(), len(self.layers)))

    @property
    def size(self) -> int:
        """Compressed bytes: what a pull transfers."""
        return self.config.size + sum(layer.size for layer in self.layers)

    def has_all_bytes(self) -> bool:
        """Whether every blob is there in its full size: a quick look at what `verify` has hashed before."""
        try:
            return all(self.blob_path(blob.digest).stat().st_size == blob.size for blob in self.blobs)
        except (OSError, BuildFailed):
            return False

    def verify(self) -> None:
        """Re-hash every blob. Raises BuildFailed that names each one that is missing, cut short or altered.

        It is also raised where the configuration has not one diffID for each layer.
        """
        bad = [why for blob in (self.manifest,) if (why := self._fault(blob))]
        if not bad:
            with ThreadPoolExecutor() as pool:  # hashing lets other threads run
                bad = [why for why in pool.map(self._fault, dict.fromkeys((self.config, *self.layers))) if why]
        if bad:
            raise BuildFailed("; ".join(bad), str(self.folder), "build the cell again")
        assert len(self.diff_ids) == len(self.layers), "reading them has compared their number"

    def _fault(self, blob: Descriptor) -> str:
        path = self.blob_path(blob.digest)
        if not path.is_file():
            return f"blob {blob.digest} is missing"
        if path.stat().st_size != blob.size:
            return f"blob {blob.digest} has {path.stat().st_size} of {blob.size} bytes"
        found = f"sha256:{sha256_file(path)}"
        return "" if found == blob.digest else f"blob {blob.digest} hashes to {found}"


def create_layout(folder: Path, manifest: bytes, media_type: str = OCI_MANIFEST) -> Layout:
    """Make a folder that holds an image's configuration and layers under blobs/sha256/ a layout of that image.

    The index is written last: without it, the folder is no layout. Nothing is verified. Raises Undecided on a full
    disk.
    """
    layout = Layout(folder, describe(manifest, media_type))
    write_atomic(layout.blob_path(layout.digest), manifest)
    write_atomic(folder / "oci-layout", LAYOUT_FILE)
    write_atomic(folder / "index.json", make_index([layout.manifest]))
    return layout


def make_index(manifests: Sequence[Descriptor], annotations: dict[str, str] | None = None) -> bytes:
    """The index.json of a layout, of each of whose images the same is noted."""
    notes = {"annotations": annotations} if annotations else {}
    entries = [manifest.to_json() | notes for manifest in manifests]
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


@dataclass(frozen=True)
class LayoutStore:
    """The blobs of a layout that was not verified; whatever is wrong raises Undecided, with `name` for a place."""

    folder: Path
    name: str = ""

    @property
    def place(self) -> str:
        return self.name or str(self.folder)

    def read_index(self) -> bytes:
        try:
            with open_plain(self.folder / "index.json") as stream:
                data = stream.read(LARGEST_JSON + 1)
        except OSError as error:
            raise unreadable(f"index.json: {error.strerror}", self.place) from error
        if len(data) > LARGEST_JSON:
            raise unreadable(f"index.json has more than {LARGEST_JSON} bytes", self.place)
        return data

    def read_manifest(self, blob: Descriptor) -> bytes:
        return read_json_blob(self, blob, self.place)

    @contextmanager
    def open(self, blob: Descriptor) -> Iterator[Source]:
        try:
            stream = open_plain(self.folder / blob.path)
        except OSError as error:
            raise _cannot_read(blob, error, self.place) from error
        with stream:
            yield Checked(_BlobFile(stream, blob, self.place), blob, self.place)


@dataclass(frozen=True)
class _BlobFile:
    """A file of which a failing disk is told apart from what fails where its bytes go to."""

    stream: BinaryIO
    blob: Descriptor
    place: str

    def read(self, size: int, /) -> bytes:
        try:
            return self.stream.read(size)
        except OSError as error:
            raise _cannot_read(self.blob, error, self.place) from error


def _cannot_read(blob: Descriptor, error: OSError, place: str) -> Undecided:
    return unreadable(f"blob {blob.digest}: {error.strerror or error}", place)


@contextmanager
def _naming_damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = f"not a complete OCI layout ({type(error).__name__}: {error})"
        raise BuildFailed(cause, str(folder), "build the cell again") from error
