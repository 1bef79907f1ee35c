"""The GPU code that a shared object carries, and which GPU can run it.

Standard library only, Python 3.10 or newer, and nothing of the project beside itself, so that the folder can be copied
into an image as it is, under the same name (`scripts/gpucode`). It reads and answers; it judges nothing.
"""

from scripts.gpucode.compat import (
    Support,
    find_usable,
    jit_driver_floor,
    runs_on,
    toolkit_of_capability,
    toolkit_of_ptx,
)
from scripts.gpucode.elf import GpuCodeError
from scripts.gpucode.fatbin import Compression, Container, Entry, Kind, parse_gpu_code, read_gpu_code

__all__ = [
    "Compression",
    "Container",
    "Entry",
    "GpuCodeError",
    "Kind",
    "Support",
    "find_usable",
    "jit_driver_floor",
    "parse_gpu_code",
    "read_gpu_code",
    "runs_on",
    "toolkit_of_capability",
    "toolkit_of_ptx",
]
