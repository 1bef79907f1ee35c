"""The fatbin containers in a shared object or object file: which GPU code there is, read off headers alone.

The format has no public description. These layouts were read off what nvcc writes, and agree with NVIDIA's cuobjdump on
every library that `python -m tests.gpucode_oracle` compares.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.gpucode.elf import Buffer, Headers, Section, find_sections

Kind = Literal["sass", "ptx", "other"]
Compression = Literal["none", "lz4", "zstd"]

LINKED, RELOCATABLE = ".nv_fatbin", "__nv_relfatbin"

# Magic, version, header size, size of the entries.
_CONTAINER = struct.Struct("<IHHQ")
_CONTAINER_START = (0xBA55ED50, 1, 16)
# Kind, version, header size, payload size, compressed size, PTX version (minor, major), architecture, flags,
# uncompressed size.
_ENTRY = struct.Struct("<HHIQI4xHHI8xQ8xQ")
_ENTRY_VERSION = 0x0101
_KINDS: dict[int, Kind] = {1: "ptx", 2: "sass"}
_SUFFIXES = {0: "", 0x100000: "a", 0x200000: "f"}
_SUFFIX_FLAGS = 0x300000
_COMPRESSIONS: dict[int, Compression] = {0x2000: "lz4", 0x8000: "zstd"}
_COMPRESSION_FLAGS = 0xA000
_ARCHITECTURES = range(10, 1000)
_ZEROS = re.compile(rb"\0*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of GPU code: SASS (machine code), PTX, or something that no driver runs by itself (such as LTO IR).

    `arch` is the compute capability without its dot, and the suffix: `90a`, `120`, `120f`. `stored_size` is what the
    code takes in the file, `size` what the file says that it takes uncompressed, both in bytes with padding.
    `ptx_version` is PTX's own version (`8.7`), by which a driver knows whether it can compile it; empty for the rest.
    """

    kind: Kind
    arch: str
    compression: Compression
    stored_size: int
    size: int
    ptx_version: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """One fatbin: the same kernels for several architectures, of which the driver picks one. `offset` is in the file.

    A `relocatable` container is the device linker's input, left in the file: its SASS does not run as it is. What was
    linked lies in a container of its own in `.nv_fatbin`.
    """

    section: str
    offset: int
    entries: tuple[Entry, ...]

    @property
    def relocatable(self) -> bool:
        return self.section == RELOCATABLE


def read_gpu_code(path: Path) -> tuple[Container, ...] | None:
    """The fatbin containers of a file, in its order: none in an ELF file without GPU code, None if it is no ELF file.

    Reads a few pages whatever the file's size. The file must not be cut shorter meanwhile. Raises GpuCodeError for a
    file that is broken or foreign, and OSError for one that cannot be opened.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or not status.st_size:  # opening a pipe would wait; nothing cannot be mapped
        return None
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if hasattr(mmap, "MADV_RANDOM"):
            data.madvise(mmap.MADV_RANDOM)  # headers lie far apart: reading ahead would read the payload
        return parse_gpu_code(data, os.fspath(path))


def parse_gpu_code(data: Buffer, name: str) -> tuple[Container, ...] | None:
    """As `read_gpu_code`, from a file's bytes; `name` is what errors call it."""
    headers = Headers(data, name)
    sections = find_sections(headers, (LINKED, RELOCATABLE))
    if sections is None:
        return None
    return tuple(container for section in sections for container in _containers(headers, section))


def _containers(headers: Headers, section: Section) -> Iterator[Container]:
    offset = section.offset
    while (offset := _skip_zeros(headers.data, offset, section.end)) < section.end:
        *start, size = headers.read(_CONTAINER, offset, "a fatbin container's header", section.end)
        if tuple(start) != _CONTAINER_START:
            raise headers.error(f"{section.name} has something other than a fatbin container of version 1", offset)
        first = offset + _CONTAINER.size
        if first + size > section.end:
            raise headers.error(f"a fatbin container ends past the end of {section.name}", offset)
        yield Container(section.name, offset, tuple(_entries(headers, first, first + size)))
        offset = first + size


def _skip_zeros(data: Buffer, start: int, end: int) -> int:
    """Where the padding between containers ends (linkers align, and other tools may have blanked a container)."""
    match = _ZEROS.match(data, start, end)
    return match.end() if match else start


def _entries(headers: Headers, offset: int, end: int) -> Iterator[Entry]:
    while offset < end:
        fields = headers.read(_ENTRY, offset, "a fatbin entry's header", end)
        kind, version, header_size, stored, compressed, minor, major, arch, flags, uncompressed = fields
        # A header of at least its own size is also what makes every round of this loop come nearer to its end.
        if version != _ENTRY_VERSION or header_size < _ENTRY.size or arch not in _ARCHITECTURES:
            raise headers.error("not a fatbin entry of a known version", offset)
        if offset + header_size + stored > end:
            raise headers.error("a fatbin entry ends past the end of its container", offset)
        if compressed > stored:
            raise headers.error("a fatbin entry has more compressed bytes than bytes", offset)
        suffix = _SUFFIXES.get(flags & _SUFFIX_FLAGS)
        compression = _COMPRESSIONS.get(flags & _COMPRESSION_FLAGS) if compressed else "none"
        if suffix is None or compression is None:
            raise headers.error(f"a fatbin entry's flags {flags:#x} have no known meaning", offset)
        yield Entry(
            kind=_KINDS.get(kind, "other"),
            arch=sys.intern(f"{arch}{suffix}"),  # a library can have hundreds of thousands of entries
            compression=compression,
            stored_size=stored,
            size=uncompressed if compressed else stored,
            ptx_version=sys.intern(f"{major}.{minor}") if _KINDS.get(kind) == "ptx" else "",
        )
        offset += header_size + stored
