"""What lies on this machine's disk: a file, a wheel, or a folder of either."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from scripts.audit.library import VERSION, Library, dump_libraries, load_libraries, read_library
from scripts.errors import ConfigError, Undecided
from scripts.files import write_json
from scripts.gpucode import GpuCodeError, read_gpu_code
from scripts.zips import DAMAGE

# Where a wheel's `data` folder goes when it is installed; the rest of it goes outside of the packages' folder.
_DATA = re.compile(r"^[^/]+\.data/(?:purelib|platlib)/")


def read_path(path: Path) -> list[Library]:
    """The libraries of a file, of a wheel, or of everything under a folder. Raises ConfigError where there is none."""
    if path.is_dir():
        return [library for file in sorted(path.rglob("*")) for library in _read_member(file, path)]
    if not path.is_file():
        raise ConfigError("no such file or folder", str(path), "give a path, or an image's name")
    return read_wheel(path) if path.suffix == ".whl" else _read_file(path, path.name)


def read_wheel(path: Path) -> list[Library]:
    """The libraries of a wheel, at the paths that they will have among the installed packages.

    Raises Undecided for a file that is not a complete wheel.
    """
    found = []
    try:
        file = path.open("rb")
    except OSError as error:
        raise Undecided(f"cannot be read: {error.strerror}", str(path), "mend that, or name another file") from error
    try:
        with file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    library = read_library(_DATA.sub("", member.filename), member.file_size, stream)
                if library:
                    found.append(library)
    except DAMAGE as error:
        raise Undecided(f"not a sound wheel: {error}", str(path), "fetch it again, and compare its hash") from error
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
        kept = json.loads(note.read_bytes())
        return load_libraries(kept["libraries"]) if kept["version"] == VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_member(path: Path, folder: Path) -> list[Library]:
    name = path.relative_to(folder).as_posix()
    if path.is_symlink():  # what it leads to is read where it lies
        return []
    if path.suffix == ".whl" and path.is_file():
        return [replace(library, path=f"{name}/{library.path}") for library in read_wheel(path)]
    return _read_file(path, name)


def _read_file(path: Path, name: str) -> list[Library]:
    try:
        containers = read_gpu_code(path)
    except GpuCodeError as error:
        return [Library(name, (), error.cause)]
    return [Library(name, containers)] if containers else []
