"""An image like another, of which some files are others."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from scripts.engine import Engine
from scripts.engine.images import remove_image
from tests.gpu.planting import Read


@contextmanager
def derived_image(engine: Engine, digest: str, change: Callable[[Read], Mapping[str, bytes]]) -> Iterator[str]:
    """The id of such an image, for the block: `change` reads files of the first, and gives those that are others."""
    container = engine.client.containers.create(digest, command=["true"])
    try:
        container.put_archive("/", pack(change(lambda path: read_file(container, path))))
        made = str(container.commit().id)
    finally:
        container.remove(force=True)
    try:
        yield made
    finally:
        remove_image(engine, made)


def read_file(container: Any, path: str) -> bytes:
    """A file of a container."""
    stream, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        [member] = archive.getmembers()
        extracted = archive.extractfile(member)
        assert extracted, f"{path} is no file"
        return extracted.read()


def pack(files: Mapping[str, bytes]) -> bytes:
    """An archive of files at their absolute paths, which anybody may read."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(data), 0o755 if path.endswith(".so") else 0o644
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
