"""What lies on this machine's disk: a file, a wheel, or a folder of either."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from scripts.audit.library import (
    LARGEST,
    LOADABLE,
    VERSION,
    Keeper,
    Library,
    dump_libraries,
    is_loadable,
    load_libraries,
)
from scripts.errors import ConfigError, Undecided
from scripts.files import parse_json, write_json
from scripts.gpucode import GpuCodeError, read_gpu_code
from scripts.oci.tar import spell
from scripts.zips import ZipReader

# Where a wheel's `data` folder goes when it is installed; the rest of it goes outside of the packages' folder.
_DATA = re.compile(r"^[^/]+\.data/(?:purelib|platlib)/")


def read_path(path: Path) -> list[Library]:
    """The libraries of a file, of a wheel, or of everything under a folder.

    Raises ConfigError where there is none, OSError for whatever in a folder cannot be read, and Undecided for more GPU
    code than is kept in mind.
    """
    keeper = Keeper(str(path))
    if path.is_dir():
        reader = _FolderReader(path, keeper)
        return [library for file in sorted(_walk(path)) for library in reader.read(file)]
    if path.exists() and not path.is_file():
        raise ConfigError("is a pipe or a device", str(path), "give a file, a folder, or an image's name")
    if not path.is_file():
        raise ConfigError("no such file or folder", str(path), "give a path, or an image's name")
    return read_wheel(path, keeper) if path.suffix == ".whl" else _read_file(path, path.name, keeper)


def read_wheel(path: Path, keeper: Keeper | None = None) -> list[Library]:
    """The libraries of a wheel, at the paths that they will have among the installed packages.

    Raises Undecided for a file that is not a complete wheel, and as `read_path`.
    """
    keeper = keeper or Keeper(str(path))
    found = []
    try:
        archive = ZipReader(path, str(path))
    except OSError as error:
        raise Undecided(f"cannot be read: {error.strerror}", str(path), "mend that, or name another file") from error
    for member in archive.members.values():
        with archive.open(member) as stream:
            library = keeper.read(_DATA.sub("", member.name), member.info.file_size, stream)
        if library:
            found.append(library)
    return found


def read_wheels(wheels: Sequence[tuple[str, Path]], kept: Path, update: Callable[[str], None]) -> list[Library]:
    """The libraries of many wheels, each given with its SHA-256; what was read once is kept in a folder."""
    done = 0

    def read(wheel: tuple[str, Path]) -> list[Library]:
        nonlocal done
        sha256, path = wheel
        note = kept / f"{sha256}.json"
        libraries = _recall(note)
        if libraries is None:
            libraries = read_wheel(path)
            write_json(note, {"version": VERSION, "libraries": dump_libraries(libraries)})
        done += 1
        update(f"{done} of {len(wheels)} wheels read")
        return libraries

    with ThreadPoolExecutor(4) as pool:  # inflating lets other threads run
        return [library for libraries in pool.map(read, wheels) for library in libraries]


def _recall(note: Path) -> list[Library] | None:
    try:
        kept = parse_json(note.read_bytes())
        return load_libraries(kept["libraries"]) if kept["version"] == VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _walk(folder: Path) -> Iterator[Path]:
    """The plain files under a folder; no link is followed: what it leads to is read where it lies. Raises OSError."""
    folders = [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


class _FolderReader:
    """Reads the files of one folder; of what has several names there (hard links), the bytes once."""

    def __init__(self, folder: Path, keeper: Keeper) -> None:
        self._folder = folder
        self._keeper = keeper
        self._known: dict[tuple[int, int], list[Library]] = {}

    def read(self, path: Path) -> list[Library]:
        name = spell(path.relative_to(self._folder).as_posix())
        if path.suffix == ".whl":
            return [replace(found, path=f"{name}/{found.path}") for found in read_wheel(path, self._keeper)]
        status = path.stat()
        if status.st_nlink == 1:
            return _read_file(path, name, self._keeper)
        inode = status.st_dev, status.st_ino
        if inode not in self._known:
            self._known[inode] = _read_file(path, name, self._keeper)
        else:
            self._keeper.count_names(len(self._known[inode]))
        return [replace(found, path=name) for found in self._known[inode]]


def _read_file(path: Path, name: str, keeper: Keeper) -> list[Library]:
    with path.open("rb") as stream:
        if not is_loadable(stream.read(len(LOADABLE))):
            return []
    size = path.stat().st_size
    if size > LARGEST:
        return [Library(name, (), f"{size} bytes are more than this program reads")]
    try:
        containers = read_gpu_code(path)
    except GpuCodeError as error:
        return [Library(name, (), error.cause)]
    found = keeper.count(Library(name, containers)) if containers else None
    return [found] if found else []
