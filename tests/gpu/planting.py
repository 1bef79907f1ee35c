"""Faults for the gate to find, planted into a model's weights or an image's files."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from scripts.gpucode.fatbin import parse_gpu_code

CONTAINER_HEADER, ARCHITECTURE = 16, 28  # bytes of a fatbin's header, and where an entry's has its architecture
SITE = "/opt/venv/lib/python3.11/site-packages"
UVICORN, BINDINGS = f"{SITE}/uvicorn/config.py", f"{SITE}/cuda/bindings/__init__.py"
PLANTED = Path(__file__).with_name("planted_server.py")
OTHER = {"9.0": 120, "12.0": 90}  # an architecture that the GPU of a compute capability cannot run

Read = Callable[[str], bytes]  # a file of an image, by its path


def flip_sign(folder: Path) -> None:
    """The first weight of the last norm gets the other sign."""
    edit(folder, "model.norm.weight", lambda data: bytes([data[0], data[1] ^ 0x80]) + data[2:])


def double_scale(folder: Path) -> None:
    """The scale of one block of FP8 weights is doubled."""

    def change(data: bytes) -> bytes:
        (value,) = struct.unpack("<f", data[:4])
        return struct.pack("<f", 2 * value) + data[4:]

    edit(folder, "model.layers.0.self_attn.o_proj.weight_scale", change)


def edit(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of one tensor, in place."""
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    (size,) = struct.unpack("<Q", data[:8])
    start, end = (8 + size + offset for offset in json.loads(data[8 : 8 + size])[name]["data_offsets"])
    data[start:end] = change(bytes(data[start:end]))
    path.write_bytes(data)


def readdress(data: bytearray, arch: int) -> None:
    """Set the architecture of every entry of every fatbin in a library."""
    for container in parse_gpu_code(data, "the library") or ():
        place = container.offset + CONTAINER_HEADER
        for _ in container.entries:
            header, size = struct.unpack_from("<4xIQ", data, place)
            struct.pack_into("<I", data, place + ARCHITECTURE, arch)
            place += header + size
    found = {entry.arch.rstrip("af") for each in parse_gpu_code(data, "the library") or () for entry in each.entries}
    if found != {str(arch)}:
        raise ValueError(f"the library's GPU code is for {sorted(found)}, not for {arch} alone")


def spoil_library(read: Read, compute: str, path: str) -> dict[str, bytes]:
    """A library whose code is all said to be for another GPU than one of this compute capability."""
    data = bytearray(read(path))
    readdress(data, OTHER[compute])
    return {path: bytes(data)}


def spoil_server(read: Read, compute: str, fault: str) -> dict[str, bytes]:
    """uvicorn, by which both engines serve, with a fault of `planted_server`."""
    code = f"\nimport planted_server\n\nplanted_server.plant(Config, {fault!r})\n"
    return {f"{SITE}/{PLANTED.name}": PLANTED.read_bytes(), **add_code(UVICORN, read(UVICORN), code)}


def age_bindings(read: Read, compute: str) -> dict[str, bytes]:
    """CUDA's bindings as they are where cuda-python 12.6 was installed over those of CUDA 13.

    That wheel brings a `cuda/bindings/` of its own: its `__init__.py` and `runtime` replace those of cuda-bindings, and
    the `runtime` of CUDA 12.6 has no `cudaLibrary_t`, which nvidia-cutlass-dsl asks for as it is imported. The module
    itself is 27 MB: here the same name is taken from the newer one, by the `__init__.py` that both wheels have.
    """
    code = "\nfrom cuda.bindings import runtime\n\ndel runtime.cudaLibrary_t\n"
    return add_code(BINDINGS, read(BINDINGS), code)


def add_code(path: str, source: bytes, code: str) -> dict[str, bytes]:
    """A module with more code at its end. Images have byte code that is not compared with its source: it goes."""
    place = PurePosixPath(path)
    kept = place.parent / "__pycache__" / f"{place.stem}.cpython-311.pyc"
    return {path: source + code.encode(), str(kept): b""}  # Python passes over byte code that is none
