"""Images where they are kept: in an OCI layout or an archive, or in a registry. Not unpacked, and hashed on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from scripts.audit.library import Keeper, Library
from scripts.audit.shelf import LibraryShelf
from scripts.files import CHUNK, open_plain
from scripts.oci.archive import Chunks
from scripts.oci.export import read_export
from scripts.oci.image import find_manifest, read_image
from scripts.oci.layer import Layer
from scripts.oci.layout import LayoutStore
from scripts.oci.merge import merge_layers
from scripts.reference import parse_image
from scripts.registry.client import Registry
from scripts.registry.store import RegistryStore, find_image


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


def read_layout(
    folder: Path, update: Callable[[str], None] = lambda text: None, kept: Path | None = None
) -> list[Library]:
    """The libraries of the image in an OCI layout.

    What a layer holds is kept in the folder `kept`, by the digest of the layer's plain bytes, and a layer that is
    there is not read: whoever made the layout has verified it. Every blob that is read is hashed meanwhile. Raises
    Undecided where the layout is incomplete, damaged, or holds no image or several for linux/amd64.
    """
    place, store = str(folder), LayoutStore(folder)
    image = find_manifest(store.read_index(), None, store.read_manifest, place)
    shelf = LibraryShelf(kept) if kept else None
    return merge_libraries(read_image(image, store, place, Keeper(place).keep, update, shelf), place)


def read_archive(path: Path, update: Callable[[str], None] = lambda text: None) -> list[Library]:
    """The libraries of the image in an archive, as `docker save` and `build --output` write one; read once.

    Raises OSError for a file that cannot be opened, and Undecided as `read_layout`.
    """
    place = str(path)
    with open_plain(path) as stream:
        layers = read_export(Chunks(iter(partial(stream.read, CHUNK), b""), update), place, Keeper(place).keep)
    return merge_libraries(layers, place)


def read_registry(text: str, registry: Registry, update: Callable[[str], None] = lambda text: None) -> RemoteImage:
    """An image by the name that people give to `docker pull`. Transfers its compressed layers, and keeps none.

    Raises ConfigError for what is no name, and Undecided where the registry, or what it holds, gives no image.
    """
    name = parse_image(text)
    update(f"asking {name.repository.host}")
    found, image = find_image(registry, name.repository, name.reference, str(name))
    keep = Keeper(str(name)).keep
    layers = read_image(image, RegistryStore(registry, name.repository), str(name), keep, update)
    libraries = merge_libraries(layers, str(name))
    return RemoteImage(str(name), image.digest, found.digest, image.size, libraries)


def merge_libraries(layers: list[Layer[Library]], place: str) -> list[Library]:
    """The libraries of an image at their paths in it, sorted by them."""
    libraries = merge_layers(layers, place, lambda library, path: replace(library, path=path))
    Keeper(place).count_names(len(libraries))  # hard links give one library many names
    return libraries
