"""What the loader writes into a shared object, and the symbols that it has: all that can point at its GPU code."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from scripts.gpucode import GpuCodeError
from scripts.slim.elf.shared_object import SHT_DYNSYM, SHT_SYMTAB, Section, SharedObject, Untouchable, read_dynamic

RELATIVE = 8  # R_X86_64_RELATIVE: the word becomes the addend plus the address that the library is loaded at
_RELA = struct.Struct("<QQq")
_SYMBOL = struct.Struct("<IBBHQQ")
_WORD = struct.Struct("<Q")
_RELA_TABLE, _JUMP_TABLE, _RELR_TABLE = (7, 8), (23, 2), (36, 35)  # the tags for a table's address and its size
_DT_SYMTAB, _DT_REL, _DT_PLTREL, _DT_ANDROID = 6, 17, 20, range(0x6000000F, 0x60000013)
MAX_RECORDS = 1 << 22  # seventy times what libtorch_cuda.so has; each costs a microsecond


class Relocation(NamedTuple):
    """The word at address `place` becomes something that depends on `value`, which lies in the file at `offset`."""

    place: int
    kind: int
    value: int
    offset: int


class Symbol(NamedTuple):
    """A symbol; `offset` is where its entry lies in the file, `section` the index of the section that it is in."""

    name: int
    kind: int
    section: int
    value: int
    size: int
    offset: int


def read_relocations(shared: SharedObject) -> Iterator[Relocation]:
    """All relocations that the loader applies, as it finds them: by the dynamic table, not by sections.

    Raises GpuCodeError or Untouchable.
    """
    dynamic = read_dynamic(shared)
    if _DT_REL in dynamic or dynamic.get(_DT_PLTREL, 7) != 7 or not dynamic.keys().isdisjoint(_DT_ANDROID):
        raise Untouchable("its relocations are of a kind that x86-64 Linux does not use")
    symbols = _dynamic_symbols(shared, dynamic)
    for tags in (_RELA_TABLE, _JUMP_TABLE):
        yield from _read_rela(shared, *_table(shared, dynamic, tags, _RELA.size), symbols)
    yield from _read_relr(shared, *_table(shared, dynamic, _RELR_TABLE, _WORD.size))


def _table(shared: SharedObject, dynamic: dict[int, int], tags: tuple[int, int], entry: int) -> tuple[int, bytes]:
    """Where a table lies in the file, and its bytes."""
    size = dynamic.get(tags[1], 0)
    if not size:
        return 0, b""
    if size % entry or size // entry > MAX_RECORDS:
        raise GpuCodeError(f"a relocation table of {size} bytes", shared.name)
    offset = shared.offset_of(dynamic.get(tags[0], 0), size, "a relocation table")
    return offset, bytes(shared.data[offset : offset + size])


def _read_rela(shared: SharedObject, offset: int, table: bytes, symbols: list[int]) -> Iterator[Relocation]:
    for index, (place, info, addend) in enumerate(_RELA.iter_unpack(table)):
        symbol = info >> 32
        if symbol >= len(symbols):
            raise GpuCodeError(f"a relocation names symbol {symbol} of {len(symbols)}", shared.name)
        # The addend is the last of the entry's three words.
        yield Relocation(place, info & 0xFFFFFFFF, symbols[symbol] + addend, offset + index * _RELA.size + 16)


def _read_relr(shared: SharedObject, _: int, table: bytes) -> Iterator[Relocation]:
    """The packed form: an address, then bitmaps of the 63 words that follow. The addend is in the word itself."""
    if len(table) * 8 > MAX_RECORDS:
        raise GpuCodeError(f"a packed relocation table of {len(table)} bytes", shared.name)
    place = 0
    for (word,) in _WORD.iter_unpack(table):
        if word & 1:
            places = [place + 8 * bit for bit in range(63) if word >> (bit + 1) & 1]
            place += 8 * 63
        else:
            places = [word]
            place = word + 8
        for each in places:
            offset = shared.offset_of(each, _WORD.size, "a relocated word")
            yield Relocation(each, RELATIVE, _WORD.unpack_from(shared.data, offset)[0], offset)


def _dynamic_symbols(shared: SharedObject, dynamic: dict[int, int]) -> list[int]:
    """The values of the symbols that relocations name by number; the first is no symbol."""
    tables = [section for section in shared.sections if section.kind == SHT_DYNSYM]
    if [section.address for section in tables] != [dynamic.get(_DT_SYMTAB)]:
        raise Untouchable("its dynamic symbols are not where its sections say")
    return [symbol.value for symbol in read_symbols(shared, tables[0])] or [0]


def read_symbols(shared: SharedObject, table: Section) -> Iterator[Symbol]:
    """The symbols of one table. Raises GpuCodeError or Untouchable."""
    if table.size % _SYMBOL.size or table.size // _SYMBOL.size > MAX_RECORDS:
        raise GpuCodeError(f"a symbol table of {table.size} bytes", shared.name)
    raw = bytes(shared.data[table.offset : table.end])
    for index, (name, info, _, section, value, size) in enumerate(_SYMBOL.iter_unpack(raw)):
        yield Symbol(name, info & 0xF, section, value, size, table.offset + index * _SYMBOL.size)


def symbol_tables(shared: SharedObject) -> list[Section]:
    """The table of all symbols and the loader's, as far as there are. Raises Untouchable for more than these."""
    tables = [section for section in shared.sections if section.kind in (SHT_SYMTAB, SHT_DYNSYM)]
    if len({table.kind for table in tables}) < len(tables):
        raise Untouchable(f"it has {len(tables)} symbol tables")
    return tables
