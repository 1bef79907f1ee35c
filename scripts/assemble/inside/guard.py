#!/usr/bin/python3 -IS
"""Says in one line, before anything is loaded, that an image is not for this GPU or this driver; then runs the command.

It is the first word of a GPU image's entry point; `HALLMARK_GUARD=off` skips it. Where no visible GPU can run the image
it ends with 78; where there is no GPU at all it says so and goes on, for much needs none. The command takes its place:
process id, signals and exit code are the command's own. It needs the standard library and the driver's libcuda alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

SETTINGS = "/usr/local/lib/hallmark/image.json"  # what the image is for: see scripts/assemble/guard.py
REFUSED = 78  # EX_CONFIG
QUESTIONS = {"-h", "--help", "--version"}  # are answered without a GPU
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


def main(command: list[str]) -> int:
    """Become the command; the exit code where that cannot or must not be."""
    if os.environ.get("HALLMARK_GUARD") != "off":
        with open(SETTINGS, encoding="utf-8") as file:  # noqa: PTH123 (pathlib takes longer than the rest of this)
            fault, refused = judge(json.load(file), ask_driver())
        if fault:
            print(f"hallmark: {fault} (HALLMARK_GUARD=off skips this)", file=sys.stderr, flush=True)
        if refused and not QUESTIONS.intersection(command):
            return REFUSED
    if not command:
        print("hallmark: no command was given", file=sys.stderr)
        return 127
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        print(f"hallmark: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126


def judge(image: dict[str, str], driver: dict[str, Any]) -> tuple[str, bool]:
    """What is wrong, if anything, and whether nothing of the image could run for it."""
    what = f"this image is for GPUs of compute capability {image['compute']} and CUDA {image['cuda']}"
    gpus = driver.get("gpus", ())
    if not gpus:
        return f"{what}, and {driver['error']}", False
    version = driver["cuda"]
    if version < _number(image["cuda"]):
        has = f"{version // 1000}.{version % 1000 // 10}"
        return f"{what}, and the driver's ends at {has}: install driver {image['driver']} or newer", True
    others = [f"{name} (GPU {place}) has {has}" for place, (name, has) in enumerate(gpus) if has != image["compute"]]
    return (f"{what}, and {', '.join(others)}", len(others) == len(gpus)) if others else ("", False)


def ask_driver() -> dict[str, Any]:
    """What `find_gpus` says, asked in a process of its own: the command is to inherit nothing of the driver's."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(theirs, json.dumps(find_gpus()).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return dict(json.loads(text)) if text else {"error": "the driver's libcuda crashed"}


def find_gpus() -> dict[str, Any]:
    """The driver's newest CUDA (13000 is 13.0) and the visible GPUs' names and compute capabilities, or its error."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"error": "no driver is in reach: run it with `--gpus all`"}
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        return {"error": f"no GPU is in reach: run it with `--gpus all` (the driver says {status})"}
    return {"cuda": version.value, "gpus": [_describe(cuda, place) for place in range(count.value)]}


def _describe(cuda: Any, place: int) -> tuple[str, str]:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(100)
    numbers = (ctypes.c_int(), ctypes.c_int())
    cuda.cuDeviceGet(ctypes.byref(device), place)
    cuda.cuDeviceGetName(name, len(name), device)
    for number, attribute in zip(numbers, (MAJOR, MINOR), strict=True):
        cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
    return name.value.decode(errors="replace"), ".".join(str(number.value) for number in numbers)


def _number(line: str) -> int:
    major, minor = line.split(".")
    return 1000 * int(major) + 10 * int(minor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
