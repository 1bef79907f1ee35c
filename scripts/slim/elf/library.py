"""One shared object, without the GPU code that a target can never run."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from scripts.files import open_atomic
from scripts.gpucode import Container, parse_gpu_code
from scripts.gpucode.elf import Buffer
from scripts.gpucode.fatbin import LINKED
from scripts.slim.elf.choose import choose_entries
from scripts.slim.elf.cut import Cut, plan_cut
from scripts.slim.elf.linked import find_linked_in
from scripts.slim.elf.references import References, find_references
from scripts.slim.elf.shared_object import SECTION, Section, SharedObject, Untouchable, read_shared_object

Piece = bytes | bytearray

_CONTAINER = struct.Struct("<IHHQ")
_ENTRY_SIZES = struct.Struct("<4xIQ")  # of an entry's header, and of what follows it
_SECTION_TABLE, _SEGMENT_COUNT = 40, 56  # where the file's header has them
_SECTION_OFFSET, _SECTION_SIZE = 24, 32  # where a section's header has them


@dataclass(frozen=True)
class LibraryReport:
    """What became of one library: sizes in bytes, containers and entries of GPU code, and how many entries went.

    `untouched` says why the library is what it was; it is empty where entries went.
    """

    before: int
    after: int
    containers: int = 0
    entries: int = 0
    removed: int = 0
    untouched: str = ""


@dataclass(frozen=True)
class _Kept:
    """A container's bytes in pieces, its old address and length, and its new ones."""

    pieces: tuple[bytes, ...]
    address: int
    length: int
    new_address: int
    new_length: int


def slim_library(source: Path, destination: Path, compute: str) -> LibraryReport:
    """Write a shared object again with only what a GPU of compute capability `compute` (`12.0`) can be given.

    Where the report says that it is untouched, the destination is a copy. Raises GpuCodeError for a damaged file,
    ValueError for a `compute` that is none, OSError, and Undecided on a full disk.
    """
    data = source.read_bytes()
    pieces, report = slim_bytes(data, os.fspath(source), compute)
    with open_atomic(destination) as stream:
        stream.writelines(pieces or [data])
    destination.chmod(source.stat().st_mode & 0o777)
    return report


def slim_bytes(data: Buffer, name: str, compute: str, *, keep: bool = False) -> tuple[list[Piece], LibraryReport]:
    """As `slim_library`, from and to bytes, which come in pieces: none where nothing changes. `name` is for errors.

    With `keep` it only looks, for a file that is NVIDIA's own.
    """
    containers = parse_gpu_code(data, name) or ()
    linked = [container for container in containers if container.section == LINKED]
    chosen = [choose_entries(container.entries, compute) for container in linked]
    entries = sum(len(container.entries) for container in linked)
    removed = entries - sum(map(len, chosen))
    report = LibraryReport(len(data), len(data), len(linked), entries)
    if not removed:
        return [], replace(report, untouched="it has nothing that the target cannot use" if linked else "no GPU code")
    if keep:
        return [], replace(report, untouched="it is a library of NVIDIA's, which may not be modified")
    try:
        shared = read_shared_object(data, name)
        if owner := find_linked_in(shared):
            raise Untouchable(f"it has NVIDIA's {owner} linked into it, which may not be modified")
        pieces = list(_rewrite(shared, linked, chosen))
    except Untouchable as reason:
        return [], replace(report, untouched=str(reason))
    return pieces, replace(report, after=sum(map(len, pieces)), removed=removed)


def _rewrite(shared: SharedObject, containers: list[Container], chosen: list[list[int]]) -> Iterator[Piece]:
    fatbin = shared.find(LINKED)
    kept = list(_pack(shared, fatbin, containers, chosen))
    references = find_references(shared, fatbin, {each.address: each.length for each in kept})
    size = kept[-1].new_address + kept[-1].new_length - fatbin.address
    cut = plan_cut(shared, fatbin, size)
    with memoryview(shared.data) as view:
        head, tail = bytearray(view[: fatbin.offset]), bytearray(view[cut.resume :])
    tail[: fatbin.end - cut.resume] = bytes(fatbin.end - cut.resume)
    for offset, value in chain(_patch_references(references, kept), _patch_headers(shared, fatbin, size, cut)):
        part, place = (head, offset) if offset < fatbin.offset else (tail, offset - cut.resume)
        part[place : place + len(value)] = value
    yield head
    address = fatbin.address
    for container in kept:
        yield bytes(container.new_address - address)
        yield from container.pieces
        address = container.new_address + container.new_length
    yield bytes(cut.padding)
    yield tail


def _pack(
    shared: SharedObject, fatbin: Section, containers: list[Container], chosen: list[list[int]]
) -> Iterator[_Kept]:
    """The containers with the entries that were chosen, one behind the other, as aligned as the section is."""
    align = max(8, fatbin.align)
    if align & (align - 1) or fatbin.address % align:
        raise Untouchable(f"{fatbin.name} is not aligned as it says")
    address = fatbin.address
    for container, keep in zip(containers, chosen, strict=True):
        spans, stays = _entry_spans(shared, container), frozenset(keep)
        with memoryview(shared.data) as view:
            body = [bytes(view[start:end]) for index, (start, end) in enumerate(spans) if index in stays]
        length = _CONTAINER.size + sum(map(len, body))
        old = _CONTAINER.unpack_from(shared.data, container.offset)
        header = _CONTAINER.pack(*old[:3], length - _CONTAINER.size)
        old_address = container.offset - fatbin.offset + fatbin.address
        yield _Kept((header, *body), old_address, _CONTAINER.size + old[3], address, length)
        address += -(-length // align) * align


def _entry_spans(shared: SharedObject, container: Container) -> Iterator[tuple[int, int]]:
    """Where each entry begins and ends in the file. The reader has compared all of it with the container's size."""
    start = container.offset + _CONTAINER.size
    for _ in container.entries:
        end = start + sum(_ENTRY_SIZES.unpack_from(shared.data, start))
        yield start, end
        start = end


def _patch_references(references: References, kept: list[_Kept]) -> Iterator[tuple[int, bytes]]:
    """Offsets in the old file, and what has to be there now."""
    moved = {each.address: each for each in kept}
    for offset, address in references.addresses.items():
        yield offset, moved[address].new_address.to_bytes(8, "little")
    for offset, address in references.lengths.items():
        yield offset, moved[address].new_length.to_bytes(8, "little")


def _patch_headers(shared: SharedObject, fatbin: Section, size: int, cut: Cut) -> Iterator[tuple[int, bytes]]:
    yield shared.segment_table, b"".join(segment.pack() for segment in cut.segments)
    yield _SEGMENT_COUNT, len(cut.segments).to_bytes(2, "little")
    yield _SECTION_TABLE, cut.move(shared.section_table).to_bytes(8, "little")
    for section in shared.sections:
        header = shared.section_table + section.index * SECTION.size
        yield header + _SECTION_OFFSET, cut.move(section.offset).to_bytes(8, "little")
    yield shared.section_table + fatbin.index * SECTION.size + _SECTION_SIZE, size.to_bytes(8, "little")
