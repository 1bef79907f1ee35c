"""An image of the local engine: listed from inside where it has a Python, else read from the engine's own export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError, ImageNotFound

from scripts.answers import bounded
from scripts.audit.images import merge_libraries
from scripts.audit.library import Keeper, Library
from scripts.audit.listing import list_inside
from scripts.engine import Engine
from scripts.engine.client import EXPORT
from scripts.errors import Undecided
from scripts.oci.archive import Chunks
from scripts.oci.export import read_export as read_layers


@dataclass(frozen=True)
class LocalImage:
    """An image of the engine: `digest` is what the engine knows it by, a manifest's or an index's."""

    digest: str
    libraries: list[Library]


def find_local(engine: Engine, name: str) -> str | None:
    """The digest of the image that the engine has under a name, a digest or a prefix of it; None where it has none."""
    with engine.explaining():
        image = _get(engine, name)
        return str(image.id) if image is not None else None


def read_local(engine: Engine, name: str, update: Callable[[str], None] = lambda text: None) -> LocalImage:
    """The libraries of an image that the engine has. Raises Undecided where it has none, fails, or exports damage."""
    with engine.explaining():
        image = _get(engine, name)
        if image is None:
            raise Undecided("the engine has no such image", name, f"docker pull {name}")
        digest = str(image.id)
        has_volumes = bool((image.attrs.get("Config") or {}).get("Volumes"))
    # A volume hides what the image has there: such a file system is not the image's.
    libraries = None if has_volumes else list_inside(engine, digest, update)
    return LocalImage(digest, read_export(engine, digest, update) if libraries is None else libraries)


def read_export(engine: Engine, digest: str, update: Callable[[str], None]) -> list[Library]:
    """The libraries of an image from the archive that `docker save` gives, read once as it comes; keeps nothing.

    Raises Undecided where the engine fails or exports something else.
    """
    place = f"export of {digest}"
    with engine.explaining(), bounded(EXPORT):
        layers = read_layers(Chunks(engine.client.api.get_image(digest), update), place, Keeper(place).keep)
    return merge_libraries(layers, place)


def _get(engine: Engine, name: str) -> Any:
    try:
        return engine.client.images.get(name)
    except ImageNotFound:
        return None
    except APIError as error:
        if error.status_code == 400:  # not a name that an image could have
            return None
        raise
