"""An image out of a registry into a layout folder: each blob hashed as it comes, and none asked for twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from scripts.console import Update
from scripts.errors import BuildFailed, Undecided
from scripts.files import CHUNK, format_size, free_bytes, naming_disk_full, sha256_file
from scripts.oci.archive import keep_blobs, put_in_place
from scripts.oci.blobs import read_json_blob
from scripts.oci.descriptor import Descriptor
from scripts.oci.image import check_config
from scripts.oci.layout import Layout, LayoutStore, create_layout
from scripts.reference import Repository, check_digest
from scripts.registry.client import Registry
from scripts.registry.store import RegistryStore, find_image

_RECEIVING = "receiving"  # a name that no blob has


def pull_layout(registry: Registry, repository: Repository, digest: str, folder: Path, update: Update) -> Layout:
    """Bring an image into a layout folder; of an index's digest, the image for linux/amd64.

    An interrupted pull goes on with the same call: blobs that came whole are kept beside the folder until all are
    there. A layout of this image that is there already is verified and returned. Raises Undecided or what the client
    raises. One process at a time may pull into a folder.
    """
    place = f"{repository}@{check_digest(digest)}"
    update(f"asking {repository.host}")
    _, image = find_image(registry, repository, digest, place)
    if folder.exists():
        return _check_present(folder, image.digest)
    partial = folder.with_name(f".{folder.name}.part")
    store = RegistryStore(registry, repository)
    blobs = list(dict.fromkeys((image.config, *image.layers)))
    with naming_disk_full(folder):
        (partial / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        missing = [blob for blob in blobs if not _is_whole(partial, blob)]
        _check_disk(missing, partial)
        received = 0
        total = sum(blob.size for blob in missing)
        for number, blob in enumerate(missing, 1):

            def tell(size: int, number: int = number) -> None:
                nonlocal received
                received += size
                shown = f"{format_size(received)} of {format_size(total)}"
                update(f"blob {number} of {len(missing)}, {shown} received")

            _receive(store, blob, partial, tell)
        check_config(read_json_blob(LayoutStore(partial), image.config, place), image, place)
        layout = create_layout(partial, image.data, image.manifest.media_type)
        keep_blobs(layout, place)
        (partial / _RECEIVING).unlink(missing_ok=True)
        put_in_place(partial, folder)
    return Layout(folder, layout.manifest)


def _receive(store: RegistryStore, blob: Descriptor, folder: Path, tell: Callable[[int], None]) -> None:
    """Write a blob under a name of no blob; it gets its own once all its bytes were right."""
    temporary = folder / _RECEIVING
    with store.open(blob) as stream, temporary.open("wb") as copy:
        while data := stream.read(CHUNK):
            copy.write(data)
            tell(len(data))
        copy.flush()
        os.fsync(copy.fileno())
    temporary.rename(folder / blob.path)


def _is_whole(folder: Path, blob: Descriptor) -> bool:
    path = folder / blob.path
    if not path.is_file() or path.stat().st_size != blob.size:
        return False
    return f"sha256:{sha256_file(path)}" == blob.digest


def _check_disk(missing: list[Descriptor], folder: Path) -> None:
    needed = sum(blob.size for blob in missing)
    if (free := free_bytes(folder)) < needed:
        cause = f"the image takes {format_size(needed)} more; {format_size(free)} are free"
        raise Undecided(cause, str(folder.parent), "free some space (`nox -s clean` removes what no tag needs)")


def _check_present(folder: Path, digest: str) -> Layout:
    try:
        layout = Layout.open(folder)
        layout.verify()
    except BuildFailed as error:
        raise Undecided(f"what is there is no whole layout: {error}", str(folder), "remove that folder") from error
    if layout.digest != digest:
        raise Undecided(f"another image is there ({layout.digest})", str(folder), "remove that folder")
    return layout
