"""Images in the engine: in by their layout, out by their digest, and the tags between."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread
from typing import IO, Any

from docker.errors import ImageNotFound, NotFound

from scripts.answers import bounded
from scripts.console import Update
from scripts.engine.client import EXPORT, LOADING
from scripts.engine.engine import Engine
from scripts.errors import HallmarkError, Undecided
from scripts.oci.archive import Chunks, extract_stream, pack_layout
from scripts.oci.layout import Layout

BUILD_ID_LABEL = "io.hallmark.build-id"


def has_image(engine: Engine, digest: str) -> bool:
    """Whether the engine holds the image of this manifest digest. Raises Undecided where it does not answer."""
    with engine.explaining():
        try:
            return str(engine.client.images.get(digest).id) == digest
        except ImageNotFound:
            return False


def load_layout(engine: Engine, folder: Path, digest: str) -> None:
    """Load an OCI layout under its digest alone, with no tag, and check that this digest is what the engine now has.

    Raises Undecided where the engine fails or has something else in the end, and where the layout is damaged.
    """
    read_end, write_end = os.pipe()
    source = os.fdopen(read_end, "rb")
    # A name of its own, so that no other load replaces it.
    name = f"candidate-{digest.removeprefix('sha256:')}"
    packing = _Packing(folder, name, os.fdopen(write_end, "wb"))
    packing.start()
    failure: Undecided | None = None
    answers: list[Any] = []
    try:
        with engine.explaining(), bounded(LOADING):
            # The SDK's own `images.load` looks the image up by the name in the archive; this one is to have no name.
            answers = list(engine.client.api.load_image(source))  # type: ignore[no-untyped-call]
    except Undecided as error:
        failure = error
    finally:
        source.close()  # first: a writer whose pipe is full and read by nobody would never end
        packing.join()
    if packing.fault:
        raise packing.fault from failure
    if failure:
        raise failure
    if not has_image(engine, digest):
        raise Undecided(f"the engine did not load {digest}: {answers[-1:]}", engine.host, engine.mend)


def export_layout(engine: Engine, digest: str, folder: Path, update: Update) -> Layout:
    """The image of a manifest digest out of the engine, as a verified layout that has this digest.

    Raises Undecided where the engine fails, has no such image, or gives out another one: only engines that keep images
    in containerd's store keep the manifest and the blobs that they were given. Then nothing is left behind.
    """
    with engine.explaining(), bounded(EXPORT):
        chunks = Chunks(engine.client.api.get_image(digest), update)
        return extract_stream(chunks, folder, f"export of {digest}", digest)


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


class _Packing(Thread):
    """Writes a layout into a pipe as the tar that `docker load` reads; `fault` is what kept it from being whole."""

    def __init__(self, folder: Path, name: str, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self.fault: HallmarkError | None = None
        self._folder, self._name, self._stream = folder, name, stream

    def run(self) -> None:
        try:
            with self._stream:
                pack_layout(Layout.open(self._folder), self._stream, self._name)
        except BrokenPipeError:
            return  # the engine has heard enough; what it answered says why
        except HallmarkError as error:
            self.fault = Undecided([*error.problems])
        except OSError as error:
            cause = f"the layout cannot be read: {error.strerror or error}"
            self.fault = Undecided(cause, str(self._folder), "build the cell again")
