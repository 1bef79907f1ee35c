"""NVIDIA's static libraries linked into other people's: their licence covers them there as well."""

from __future__ import annotations

import re

from scripts.slim.elf.relocations import read_symbols, symbol_tables
from scripts.slim.elf.shared_object import SharedObject

# Functions that only NVIDIA's static libraries define. (MAGMA has a cublas_side_const of its own.)
_FUNCTIONS = re.compile(
    rb"\0(cublas(?:Lt)?|cudnn|cufft|curand|cusolver|cusparse(?:Lt)?|cutensor|nvjpeg|npp[a-z]*)[A-Z]|\0(nvshmem)"
)
_STT_FUNC = 2
LONGEST_NAMES = 1 << 28  # bytes of names; libtorch_cuda.so has 25 MB


def find_linked_in(shared: SharedObject) -> str:
    """Which of NVIDIA's libraries are linked into this one, going by the functions that it defines; empty for none."""
    found = set()
    for table in symbol_tables(shared):
        if not 0 < table.link < len(shared.sections):
            continue
        strings = shared.sections[table.link]
        end = min(strings.end, strings.offset + LONGEST_NAMES)
        matches = _FUNCTIONS.finditer(shared.data, strings.offset, end)
        owners = {match.start() + 1 - strings.offset: bytes(match[1] or match[2]) for match in matches}
        if owners:
            symbols = read_symbols(shared, table)
            found |= {
                owners[each.name] for each in symbols if each.section and each.kind == _STT_FUNC and each.name in owners
            }
    return ", ".join(sorted(name.decode() for name in found))
