"""Lists the GPU code of the file system that it runs in: this runs inside an image, with the Python that is there.

It stands on the standard library of Python 3.10 and on `scripts.gpucode`, which is mounted beside it. It prints one
JSON object a line, in the form of `dump_libraries`, and a last one that says how many there were; whatever goes wrong
ends it without that line.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict
from typing import Any

from scripts.gpucode import GpuCodeError, parse_gpu_code

# Both as in `library.py`, which cannot be here; a test compares them.
LARGEST = 1 << 31
LOADABLE = b"\x7fELF\x02\x01"


def main(root: bytes = b"/", mounts: str = "/proc/self/mountinfo") -> None:
    """Print the listing of everything under `root`, on its own file system."""
    count = 0
    for path in walk(root, read_mounts(mounts)):
        found = examine(path, path[len(root) :].lstrip(b"/").decode("utf-8", "backslashreplace"))
        if found:
            print(json.dumps(found))
            count += 1
    print(json.dumps({"end": count}), flush=True)


def read_mounts(file: str) -> frozenset[bytes]:
    """Every path that something is mounted on: what is there to be seen is not the image's."""
    with open(file, "rb") as stream:  # noqa: PTH123  pathlib takes long to import
        points = [line.split(b" ")[4] for line in stream]
    return frozenset(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point) for point in points)


def walk(root: bytes, mounts: Collection[bytes]) -> Iterator[bytes]:
    """The plain files under a folder; no link is followed, and nothing that is mounted there is entered."""
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.path in mounts:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path


def examine(path: bytes, name: str) -> dict[str, Any] | None:
    """A file with GPU code, or one that cannot be read for what it is; None for any other."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.read(handle, len(LOADABLE)) != LOADABLE:
            return None
        size = os.fstat(handle).st_size
        if size > LARGEST:
            return _library(name, [], f"{size} bytes are more than this program reads")
        with mmap.mmap(handle, size, access=mmap.ACCESS_READ) as data:
            if hasattr(mmap, "MADV_RANDOM"):
                data.madvise(mmap.MADV_RANDOM)  # headers lie far apart: reading ahead would read the payload
            containers = parse_gpu_code(data, name) or ()
    except GpuCodeError as error:
        return _library(name, [], str(error)[len(name) :].lstrip(": "))
    finally:
        os.close(handle)
    return _library(name, [asdict(container) for container in containers]) if containers else None


def _library(path: str, containers: list[dict[str, Any]], fault: str = "") -> dict[str, Any]:
    return {"path": path, "containers": containers, "fault": fault}
