"""Images in the engine: in by their layout, out by their digest, and the tags between."""

from __future__ import annotations

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import IO

from docker.errors import ImageNotFound, NotFound

from scripts.engine.engine import Engine
from scripts.errors import Undecided

BUILD_ID_LABEL = "io.hallmark.build-id"


def has_image(engine: Engine, digest: str) -> bool:
    """Whether the engine holds the image of this manifest digest. Raises Undecided where it does not answer."""
    with engine.explaining():
        try:
            return str(engine.client.images.get(digest).id) == digest
        except ImageNotFound:
            return False


def load_layout(engine: Engine, folder: Path, digest: str) -> None:
    """Load an OCI layout under its digest alone, with no tag, and check that this digest is what the engine now has."""
    read_end, write_end = os.pipe()
    with engine.explaining(), os.fdopen(read_end, "rb") as source:
        writer = Thread(target=_pack, args=(folder, digest, os.fdopen(write_end, "wb")), daemon=True)
        writer.start()
        # The SDK's own `images.load` looks the image up by the name in the archive; this one is to have no name.
        answers = list(engine.client.api.load_image(source))  # type: ignore[no-untyped-call]
        writer.join()
    if not has_image(engine, digest):
        raise Undecided(f"the engine did not load {digest}: {answers[-1:]}", str(folder), "nox -s engine -- status")


def tags_of(engine: Engine, digest: str) -> list[str]:
    """The tags that point at an image, in order; none where the engine does not have it."""
    with engine.explaining():
        try:
            return sorted(engine.client.images.get(digest).tags)
        except ImageNotFound:
            return []


def digest_of_tag(engine: Engine, tag: str) -> str:
    """The manifest digest that a tag points at, or nothing."""
    with engine.explaining():
        try:
            return str(engine.client.images.get(tag).id)
        except ImageNotFound:
            return ""


def set_tag(engine: Engine, digest: str, tag: str) -> None:
    """Point a tag (`repository:tag`) at an image, and read it back."""
    with engine.explaining():
        engine.client.images.get(digest).tag(tag)
    if (found := digest_of_tag(engine, tag)) != digest:
        raise Undecided(
            f"{tag} points at {found or 'nothing'} after tagging {digest}", "engine", "run the command again"
        )


def remove_image(engine: Engine, reference: str) -> None:
    """Remove a tag, or an untagged image by its digest; one that is gone already is fine."""
    with engine.explaining():
        try:
            engine.client.images.remove(reference)
        except (ImageNotFound, NotFound):
            return


def list_images(engine: Engine) -> list[str]:
    """The digests of all images that this project built, tagged or not."""
    with engine.explaining():
        return [str(image.id) for image in engine.client.images.list(all=True, filters={"label": BUILD_ID_LABEL})]


def _pack(folder: Path, digest: str, stream: IO[bytes]) -> None:
    """Write a layout as the tar that `docker load` reads, under a name of its own so that no other load replaces it."""
    index = json.loads((folder / "index.json").read_bytes())
    name = f"candidate-{digest.removeprefix('sha256:')}"
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": name}
    with stream, tarfile.open(fileobj=stream, mode="w|") as tar:
        tar.add(folder / "oci-layout", "oci-layout")
        _add_bytes(tar, "index.json", json.dumps(index).encode())
        for path in sorted((folder / "blobs").rglob("*")):
            tar.add(path, path.relative_to(folder).as_posix(), recursive=False)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, BytesIO(data))
