"""What a Dockerfile sees: itself, the files of its folder's `context/`, and nothing else that lies beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.assemble.rootfs import write_rootfs
from scripts.assemble.types import Step
from scripts.errors import ConfigError
from scripts.fetch import Cache
from scripts.files import link_or_copy, naming_disk_full, sha256_file
from scripts.matrix import Image

DOCKERFILE = "Dockerfile"


@dataclass(frozen=True)
class Contexts:
    """Two folders: `context` is the build's own, `inputs` (packages, archives) is bind-mounted under that name."""

    context: Path
    inputs: Path


def list_context(image: Image) -> dict[str, Path]:
    """The files that an image's build sees, by the path that they have there, in order.

    Raises ConfigError where there is no Dockerfile, where a file cannot be read, or where `context/` holds a link: what
    it leads to is not hashed.
    """
    dockerfile = image.folder / DOCKERFILE
    if not dockerfile.is_file():
        raise ConfigError("there is no Dockerfile", f"images/{image.name}", "write one that begins with `FROM base`")
    folder = image.folder / "context"
    found = {DOCKERFILE: dockerfile}
    for path in sorted(_walk(folder)) if os.path.lexists(folder) else ():
        place = f"images/{image.name}/context/{path.relative_to(folder).as_posix()}"
        if path.is_symlink():
            raise ConfigError("a link in a build's context", place, "put a file in its place")
        if not (path.is_file() or path.is_dir()):
            raise ConfigError("is no ordinary file", place, "put a file in its place")
        if path.is_file() and "__pycache__" not in path.relative_to(folder).parts:
            found[path.relative_to(folder).as_posix()] = path
    for name, path in found.items():
        if not os.access(path, os.R_OK):
            raise ConfigError("cannot be read", f"images/{image.name}/{name}", "make it readable, or take it away")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Everything under a folder. Raises ConfigError where a part of it cannot be read: it would go unseen."""

    def refuse(error: OSError) -> None:
        cause = f"a build's context cannot be read: {error.strerror or error}"
        raise ConfigError(cause, str(error.filename or folder), "make it readable, or take it away") from error

    for here, folders, files in os.walk(folder, onerror=refuse):
        yield from (Path(here, name) for name in [*folders, *files])


def describe_context(image: Image) -> dict[str, list[object]]:
    """The content of a context for a build id: each file's SHA-256, and the one bit of its mode that git keeps."""
    return {name: [sha256_file(path), _is_executable(path)] for name, path in list_context(image).items()}


def lay_out(step: Step, cache: Cache, folder: Path) -> Contexts:
    """Make an image's contexts under a folder, of inputs that are in the cache.

    An image that stands on no other begins with its packages' files, as they lie in the archives.
    """
    made = Contexts(folder / "context", folder / "inputs")
    for path in (made.context, made.inputs):
        path.mkdir(parents=True)
    for name, path in list_context(step.image).items():
        _copy(path, made.context / name)
    for directory in (path for path in made.context.rglob("*") if path.is_dir()):
        directory.chmod(0o755)
    for file in step.inputs:
        link_or_copy(cache.path(file.sha256), made.inputs / file.file)
    if step.packages and not step.parent:
        write_rootfs([cache.path(file.sha256) for file in step.packages], made.context / "stage1.tar")
    return made


def _is_executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)


def _copy(source: Path, destination: Path) -> None:
    # Modes are set, not taken over: a checkout's depend on the umask of whoever cloned it.
    destination.parent.mkdir(parents=True, exist_ok=True)
    with naming_disk_full(destination):
        shutil.copyfile(source, destination)
    destination.chmod(0o755 if _is_executable(source) else 0o644)
