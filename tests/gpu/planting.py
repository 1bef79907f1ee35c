"""Faults for the gate to find, planted into a model's weights or a library's GPU code."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

from scripts.gpucode.fatbin import parse_gpu_code

CONTAINER_HEADER, ARCHITECTURE = 16, 28  # bytes of a fatbin's header, and where an entry's has its architecture


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
