"""NVIDIA's own libraries inside other people's wheels: their licence covers them there as well."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from scripts.slim.image import Image
from scripts.slim.relocations import read_symbols, symbol_tables

# libcublas.so.12, libcudart-d0da41ae.so.11.0, libnvjpeg.4a0b5c81.so.13, libnppc.so.12: wheels bundle these.
_BUNDLED = re.compile(r"lib(cu|nv|npp)|.*nvshmem", re.IGNORECASE)
# Functions that only NVIDIA's static libraries define. (MAGMA has a cublas_side_const of its own.)
_FUNCTIONS = re.compile(
    rb"\0(cublas(?:Lt)?|cudnn|cufft|curand|cusolver|cusparse(?:Lt)?|cutensor|nvjpeg|npp[a-z]*)[A-Z]|\0(nvshmem)"
)
_STT_FUNC = 2
_LONGEST = 1 << 28  # bytes of names; libtorch_cuda.so has 25 MB


def is_bundled(member: str) -> bool:
    """Whether a file is by its name one of NVIDIA's libraries."""
    return bool(_BUNDLED.match(PurePosixPath(member).name))


def find_linked_in(image: Image) -> str:
    """Which of NVIDIA's libraries are linked into this one, going by the functions that it defines; empty for none."""
    found = set()
    for table in symbol_tables(image):
        if not 0 < table.link < len(image.sections):
            continue
        strings = image.sections[table.link]
        end = min(strings.end, strings.offset + _LONGEST)
        matches = _FUNCTIONS.finditer(image.data, strings.offset, end)
        owners = {match.start() + 1 - strings.offset: bytes(match[1] or match[2]) for match in matches}
        if owners:
            symbols = read_symbols(image, table)
            found |= {
                owners[each.name] for each in symbols if each.section and each.kind == _STT_FUNC and each.name in owners
            }
    return ", ".join(sorted(name.decode() for name in found))
