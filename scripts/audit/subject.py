"""What a person names to be audited: something on the disk, an image of the local engine, or one in a registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.audit.files import read_path
from scripts.audit.images import read_archive, read_layout, read_registry
from scripts.audit.library import Library
from scripts.audit.local import find_local, read_local
from scripts.console import step
from scripts.engine import Engine
from scripts.errors import Undecided
from scripts.oci.archive import ARCHIVE
from scripts.registry.client import Registry


@dataclass(frozen=True)
class Subject:
    """The libraries of a subject, and what it turned out to be. `digest` is an image's, empty for anything else."""

    name: str
    libraries: list[Library]
    digest: str = ""


def read_subject(text: str, engine: Engine | None) -> Subject:
    """Find and read a subject; `engine` is asked for an image before any registry is, unless it is None.

    Raises ConfigError for what is neither there nor an image's name, and Undecided where it cannot be read.
    """
    with step(text, "audit") as update:
        path = Path(text)
        try:
            if (path / "index.json").is_file() and (path / "oci-layout").is_file():
                return Subject(text, read_layout(path, update))
            if path.suffix == ARCHIVE and path.is_file():
                return Subject(text, read_archive(path, update))
            if path.exists():
                return Subject(text, read_path(path))
        except OSError as error:
            raise Undecided(f"cannot be read: {error}", text, "mend that, or name something else") from error
        if engine and find_local(engine, text):
            local = read_local(engine, text, update)
            return Subject(text, local.libraries, local.digest)
        image = read_registry(text, Registry(), update)
        return Subject(image.name, image.libraries, image.digest)
