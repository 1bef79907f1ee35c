"""NVIDIA's own libraries as files in other people's wheels: their licence covers them there as well."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

# libcublas.so.12, libcudart-d0da41ae.so.11.0, libnvjpeg.4a0b5c81.so.13, libnppc.so.12: wheels bundle these.
_BUNDLED = re.compile(r"lib(cu|nv|npp)|.*nvshmem", re.IGNORECASE)


def is_bundled(member: str) -> bool:
    """Whether a file is by its name one of NVIDIA's libraries."""
    return bool(_BUNDLED.match(PurePosixPath(member).name))
