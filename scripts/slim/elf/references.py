"""Everything that points at a library's fatbin containers, so that they can be moved; or why they cannot.

How nvcc's output finds its GPU code: a wrapper in `.nvFatBinSegment` (magic, version, pointer to the container, one
more word) is handed to the CUDA runtime when the library is loaded. The pointer is relocated, and is the only one. In
version 1 the last word is 0. In version 2, which the device linker writes, it is relocated too, and points at an array
in `.bss`, where start-up code puts the addresses of the unlinked fatbins in `__nv_relfatbin`; none of these moves.
(Seen in torch's libtorch_nvshmem.so.)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from scripts.slim.elf.relocations import RELATIVE, Relocation, Symbol, read_relocations, read_symbols, symbol_tables
from scripts.slim.elf.shared_object import SHF_ALLOC, SHT_DYNSYM, SHT_REL, SHT_RELA, Section, SharedObject, Untouchable

WRAPPERS = ".nvFatBinSegment"
_WRAPPER = struct.Struct("<IIQQ")
_WRAPPER_MAGIC = 0x466243B1
_POINTER, _LAST = 8, 16  # where a wrapper's pointer and its last word are in it
_STT_SECTION, _STT_FILE, _STT_TLS = 3, 4, 6
MAX_WRAPPERS = 1 << 16


@dataclass
class References:
    """Words of eight bytes, by their offset in the file: those that hold a container's address, and its length."""

    addresses: dict[int, int] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)


def find_references(shared: SharedObject, fatbin: Section, lengths: Mapping[int, int]) -> References:
    """Every reference to the containers of `fatbin`, which are given as their addresses and lengths in bytes.

    Values in the result are addresses of containers. Raises Untouchable for whatever does not fit the picture above,
    and GpuCodeError for a damaged file.
    """
    if any(section.kind in (SHT_REL, SHT_RELA) and not section.flags & SHF_ALLOC for section in shared.sections):
        raise Untouchable("it keeps the linker's own relocations")
    wrappers = shared.find(WRAPPERS)
    if wrappers.size % _WRAPPER.size or wrappers.size // _WRAPPER.size > MAX_WRAPPERS:
        raise Untouchable(f"{WRAPPERS} has {wrappers.size} bytes")
    if shared.offset_of(wrappers.address, wrappers.size, WRAPPERS) != wrappers.offset:
        raise Untouchable(f"{WRAPPERS} is not where its header says")
    references = References()
    slots = _find_slots(shared, fatbin, wrappers)
    pointed = [_read_wrapper(shared, fatbin, wrappers, at, slots, references) for at in _wrapper_offsets(wrappers)]
    if slots:
        raise Untouchable(f"a relocation in {WRAPPERS} is not of a wrapper's pointer")
    moved = sorted(target for target in pointed if fatbin.holds(target))
    if moved != sorted(lengths):
        raise Untouchable(f"{len(moved)} wrappers do not point at {len(lengths)} containers one to one")
    for table in symbol_tables(shared):
        for symbol in read_symbols(shared, table):
            if symbol.section == fatbin.index or (symbol.section and fatbin.holds(symbol.value)):
                _add_symbol(symbol, table, fatbin, lengths, references)
    return references


def _wrapper_offsets(wrappers: Section) -> range:
    return range(0, wrappers.size, _WRAPPER.size)


def _find_slots(shared: SharedObject, fatbin: Section, wrappers: Section) -> dict[int, Relocation]:
    """The relocations of the wrappers, by address. No other may have to do with `.nv_fatbin`."""
    slots: dict[int, Relocation] = {}
    for relocation in read_relocations(shared):
        first, last = relocation.place, relocation.place + 7
        if wrappers.holds(first) or wrappers.holds(last):
            if relocation.kind != RELATIVE or first in slots:
                raise Untouchable(f"a relocation of a kind or number that {WRAPPERS} has nowhere else")
            slots[first] = relocation
        elif fatbin.holds(first) or fatbin.holds(last):
            raise Untouchable(f"a relocation changes {fatbin.name} itself")
        elif fatbin.holds(relocation.value):
            raise Untouchable(f"something outside {WRAPPERS} points into {fatbin.name}")
    return slots


def _read_wrapper(
    shared: SharedObject,
    fatbin: Section,
    wrappers: Section,
    at: int,
    slots: dict[int, Relocation],
    references: References,
) -> int:
    """What one wrapper points at. Takes its relocations out of `slots`, and adds its words to the references."""
    magic, version, in_place, last = _WRAPPER.unpack_from(shared.data, wrappers.offset + at)
    if magic != _WRAPPER_MAGIC or version not in (1, 2):
        raise Untouchable(f"{WRAPPERS} has something other than a wrapper of version 1 or 2")
    pointer = slots.pop(wrappers.address + at + _POINTER, None)
    if pointer is None:
        raise Untouchable("a wrapper's pointer is not relocated")
    extra = slots.pop(wrappers.address + at + _LAST, None)
    if version == 1 and (last or extra):
        raise Untouchable("a wrapper of version 1 has a second pointer")
    if extra and fatbin.holds(extra.value):
        raise Untouchable(f"a wrapper's second pointer leads into {fatbin.name}")
    if not fatbin.holds(pointer.value):
        return pointer.value
    references.addresses[pointer.offset] = pointer.value
    # The loader overwrites the word itself; GNU ld puts the same address there, lld nothing.
    if in_place == pointer.value:
        references.addresses[wrappers.offset + at + _POINTER] = pointer.value
    elif in_place:
        raise Untouchable("a wrapper's pointer and its relocation disagree")
    return pointer.value


def _add_symbol(
    symbol: Symbol, table: Section, fatbin: Section, lengths: Mapping[int, int], references: References
) -> None:
    if symbol.kind in (_STT_FILE, _STT_TLS) and symbol.section != fatbin.index:  # their values are no addresses
        return
    if symbol.kind == _STT_SECTION and symbol.value == fatbin.address and not symbol.size:
        return
    if table.kind == SHT_DYNSYM or symbol.section != fatbin.index or symbol.value not in lengths:
        raise Untouchable(f"a symbol lies in {fatbin.name} and names no container")
    if symbol.size not in (0, lengths[symbol.value]):
        raise Untouchable(f"a symbol in {fatbin.name} is not as long as its container")
    references.addresses[symbol.offset + 8] = symbol.value
    if symbol.size:
        references.lengths[symbol.offset + 16] = symbol.value
