"""A file that carries GPU code: what every source of files hands to the judge, and how it is kept as JSON."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

from scripts.errors import Undecided
from scripts.files import CHUNK
from scripts.gpucode import Container, Entry, GpuCodeError, parse_gpu_code
from scripts.oci.tar import Source, TarMember, spell
from scripts.room import Room

# Raised when the reader finds something else in the same bytes: what was kept before counts no longer.
VERSION = 1
# Twice the largest library known. What is larger is not held in memory, and counts as unreadable.
LARGEST = 1 << 31
# Containers and entries kept of one subject: twenty times what the largest known image has.
MOST_ENTRIES = 1 << 20
# Libraries of one subject, each name of one counted: a hundred times what the largest known image has.
MOST_LIBRARIES = 1 << 16
LOADABLE = b"\x7fELF\x02\x01"  # ELF, 64-bit, little-endian


_ROOM = Room(LARGEST)


def is_loadable(start: bytes) -> bool:
    """Whether a file that starts so may be a library of an image: what an x86-64 process can load, and nothing else.

    What is of 32 bits or of the other byte order carries nothing that could run there, whatever it carries: it is no
    more a library than a text is, in a folder, a wheel and a layer alike.
    """
    return start == LOADABLE


@dataclass(frozen=True)
class Library:
    """A file and the GPU code in it. `path` is relative to what was audited, with `/` between its parts.

    `fault` says why the file could not be read; nothing is known of such a file, so nobody may rely on it.
    """

    path: str
    containers: tuple[Container, ...]
    fault: str = ""


def read_library(path: str, size: int, stream: Source) -> Library | None:
    """Read a file of `size` bytes from a stream; None for one without GPU code. Holds one such file in memory."""
    start = stream.read(min(size, len(LOADABLE)))
    if not is_loadable(start):
        return None
    if size > LARGEST:
        return Library(path, (), f"{size} bytes are more than this program reads")
    # Memory of its own, which goes back to the system at once; all that is held at a time is no more than the largest.
    with _ROOM.take(size), mmap.mmap(-1, size) as data:
        data.write(start)
        while chunk := stream.read(CHUNK):
            if data.tell() + len(chunk) > size:
                return Library(path, (), "longer than its archive says")
            data.write(chunk)
        if data.tell() < size:
            return Library(path, (), f"cut short after {data.tell()} of {size} bytes")
        return parse_library(path, data)


class Keeper:
    """Keeps the libraries of one subject, called `place` in errors: what threads share to count them."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._left = MOST_ENTRIES
        self._libraries = 0
        self._lock = Lock()

    def read(self, path: str, size: int, stream: Source) -> Library | None:
        """As `read_library`. Raises Undecided where all together are more than is kept in mind."""
        return self.count(read_library(path, size, stream))

    def keep(self, path: str, member: TarMember, content: Source) -> Library | None:
        """As `read`, for a file in a layer."""
        if member.kind == "sparse":  # no image builder writes these: what is in one is not worth a second parser
            return Library(spell(path), (), "stored as a sparse file, which this program does not read")
        return self.read(spell(path), member.size, content)

    def count(self, library: Library | None) -> Library | None:
        """Count one that was read. Raises Undecided as `read`."""
        if library is not None:
            with self._lock:
                self._left -= len(library.containers) + sum(len(each.entries) for each in library.containers)
            if self._left < 0:
                cause = f"more GPU code than this program keeps in mind ({MOST_ENTRIES} containers and entries)"
                raise Undecided(cause, f"{self._place}, {library.path}", "audit its libraries one by one")
            self.count_names(1)
        return library

    def count_names(self, names: int) -> None:
        """Count more names of libraries. Raises Undecided as `read`."""
        with self._lock:
            self._libraries += names
        if self._libraries > MOST_LIBRARIES:
            cause = f"more libraries than this program keeps in mind ({MOST_LIBRARIES})"
            raise Undecided(cause, self._place, "audit a part of them at a time")


def parse_library(path: str, data: bytes | mmap.mmap) -> Library | None:
    """As `read_library`, from a file's bytes."""
    if not is_loadable(data[: len(LOADABLE)]):
        return None
    try:
        containers = parse_gpu_code(data, path) or ()
    except GpuCodeError as error:
        return Library(path, (), str(error).removeprefix(path).lstrip(": "))
    return Library(path, containers) if containers else None


def dump_libraries(libraries: Iterable[Library]) -> list[dict[str, Any]]:
    """As JSON values, complete: `load_libraries` gives the same back."""
    return [asdict(library) for library in libraries]


def load_libraries(values: Iterable[dict[str, Any]]) -> list[Library]:
    """The libraries that `dump_libraries` wrote. Raises KeyError or TypeError for anything else."""
    return [
        Library(
            value["path"],
            tuple(
                Container(item["section"], item["offset"], tuple(Entry(**entry) for entry in item["entries"]))
                for item in value["containers"]
            ),
            value["fault"],
        )
        for value in values
    ]
