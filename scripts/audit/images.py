"""Images where they are kept: in an OCI layout on the disk, or in a registry. Not unpacked, and hashed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.audit.archive import Source
from scripts.audit.blobs import Checked, read_image, read_json_blob
from scripts.audit.library import Library
from scripts.audit.manifest import LARGEST_JSON, unreadable
from scripts.build.layout import Blob
from scripts.errors import Undecided
from scripts.registry.client import Registry
from scripts.registry.reference import Repository, parse_image

# The forms before OCI's, which no registry converts any more.
_LEGACY = "application/vnd.docker.distribution.manifest.v1"


@dataclass(frozen=True)
class RemoteImage:
    """An image in a registry for linux/amd64: `digest` is its manifest's, `size` its compressed layers' in bytes.

    `named` is the digest of what the name points at: an index's where there are several platforms, else the same.
    """

    name: str
    digest: str
    named: str
    size: int
    libraries: list[Library]


def read_layout(folder: Path, update: Callable[[str], None] = lambda text: None) -> list[Library]:
    """The libraries of the image in an OCI layout, every blob of it hashed meanwhile.

    Raises Undecided where the layout is incomplete, damaged, or holds no image or several for linux/amd64.
    """
    place = str(folder)
    try:
        with (folder / "index.json").open("rb") as stream:
            index = stream.read(LARGEST_JSON)
    except OSError as error:
        raise unreadable(f"index.json: {error.strerror}", place) from error
    return read_image(index, "", _LayoutStore(folder), place, update, is_layout=True)[1]


def read_registry(text: str, registry: Registry, update: Callable[[str], None] = lambda text: None) -> RemoteImage:
    """An image by the name that people give to `docker pull`. Transfers its compressed layers, and keeps none.

    Raises ConfigError for what is no name, and Undecided where the registry, or what it holds, gives no image.
    """
    name = parse_image(text)
    update(f"asking {name.repository.host}")
    found = registry.get_manifest(name.repository, name.reference)
    if found is None:
        raise Undecided("the registry has no such image", str(name), "check the name and the tag, or `docker login`")
    if found.media_type.startswith(_LEGACY):
        raise unreadable(f"a manifest of the type {found.media_type}, from before 2017", str(name))
    store = _RegistryStore(registry, name.repository)
    manifest, libraries = read_image(found.data, found.digest, store, str(name), update)
    return RemoteImage(str(name), manifest.digest, found.digest, manifest.size, libraries)


@dataclass(frozen=True)
class _LayoutStore:
    folder: Path

    def read_manifest(self, blob: Blob) -> bytes:
        return read_json_blob(self, blob, str(self.folder))

    @contextmanager
    def open(self, blob: Blob) -> Iterator[Source]:
        try:
            with (self.folder / "blobs" / blob.digest.replace(":", "/")).open("rb") as stream:
                yield Checked(stream, blob, str(self.folder))
        except OSError as error:  # of opening it, or of a disk that fails while it is read
            raise unreadable(f"blob {blob.digest}: {error.strerror or error}", str(self.folder)) from error


@dataclass(frozen=True)
class _RegistryStore:
    registry: Registry
    repository: Repository

    def read_manifest(self, blob: Blob) -> bytes:
        found = self.registry.get_manifest(self.repository, blob.digest)
        if found is None:
            raise unreadable("its index names a manifest that the registry does not have", f"{self}@{blob.digest}")
        return found.data

    @contextmanager
    def open(self, blob: Blob) -> Iterator[Source]:
        with self.registry.open_blob(self.repository, blob.digest, blob.size) as stream:
            yield stream

    def __str__(self) -> str:
        return str(self.repository)
