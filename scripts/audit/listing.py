"""An image's file system, listed from inside by the image's own Python: in seconds, whatever the image's size.

The listing is what a program of the image prints: it is complete or worth nothing, and each value in it is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from docker.errors import APIError

import scripts.gpucode
from scripts.audit.library import Keeper, Library, load_libraries
from scripts.engine import Engine
from scripts.engine.sandbox import Mount, Request, open_sandbox
from scripts.errors import Undecided
from scripts.files import parse_json
from scripts.gpucode import Compression, Container, Entry, Kind
from scripts.gpucode.fatbin import LINKED, RELOCATABLE

LABEL = "io.hallmark.audit"
TIMEOUT_S = 900
MEMORY = 2 << 30
LOG_SIZE = 32 << 20  # bytes of a listing: thirty times the largest known image's
_PYTHONS = ("python3", "python")
_RUN = "import sys; sys.path.insert(0, '/hallmark'); from scripts.audit.lister import main; main()"
_ARCH = re.compile(r"[1-9][0-9]{1,2}[af]?", re.ASCII)
_PTX = re.compile(r"(?:[0-9]{1,5}\.[0-9]{1,5})?", re.ASCII)


def list_inside(engine: Engine, digest: str, update: Callable[[str], None]) -> list[Library] | None:
    """The libraries of a local image, sorted by path; None where nothing in it could make a complete listing.

    Raises Undecided where the engine fails.
    """
    with engine.explaining():
        for python in _PYTHONS:
            update(f"listing the files in a container, with its {python}")
            libraries = parse_listing(_run(engine, digest, python))
            if libraries is not None:
                return libraries
    return None


def parse_listing(text: bytes) -> list[Library] | None:
    """What `lister.py` printed; None unless it is all there and all of it is what it should be."""
    try:
        keeper = Keeper("listing")
        libraries: list[Library] = []
        *lines, last = text.splitlines()
        for line in lines:
            libraries += load_libraries([parse_json(line)])
            keeper.count(libraries[-1])
        end = parse_json(last)
        if end != {"end": len(libraries)} or not all(map(_is_sound, libraries)):
            return None
    except (ValueError, KeyError, TypeError, RecursionError, Undecided):
        return None
    return sorted(libraries, key=lambda library: library.path)


def _run(engine: Engine, digest: str, python: str) -> bytes:
    """What a container printed that ended by itself with exit code 0 and was never short of memory; else nothing."""
    try:
        with open_sandbox(engine, _request(digest, python)) as sandbox:
            ending = sandbox.run()
    except APIError:  # the image lacks this program, or the engine is on another machine and cannot mount ours
        return b""
    return ending.stdout if ending.succeeded else b""


def _request(digest: str, python: str) -> Request:
    reader = Path(scripts.gpucode.__file__).parent
    return Request(
        image=digest,
        # Isolated and without site-packages: none of the image's own modules or start-up files take part.
        command=(python, "-I", "-S", "-B", "-c", _RUN),
        label=LABEL,
        memory=MEMORY,
        timeout_s=TIMEOUT_S,
        mounts=(
            Mount(reader, "/hallmark/scripts/gpucode"),
            Mount(Path(__file__).with_name("lister.py"), "/hallmark/scripts/audit/lister.py"),
        ),
        # NVIDIA's runtime, where it is the default one, would mount the host's libraries among the image's.
        environment={"NVIDIA_VISIBLE_DEVICES": "void", "LD_PRELOAD": ""},
        user="0:0",
        capabilities=("DAC_READ_SEARCH",),  # root without it cannot read what others keep to themselves
        pids=64,
        log_size=LOG_SIZE,
    )


def _is_sound(library: Library) -> bool:
    path = library.path
    return (
        isinstance(path, str)
        and isinstance(library.fault, str)
        and bool(path and (library.fault or library.containers))
        and not any(part in ("", ".", "..") for part in path.split("/"))
        and not (library.fault and library.containers)
        and all(_is_sound_container(container) for container in library.containers)
    )


def _is_sound_container(container: Container) -> bool:
    return (
        container.section in (LINKED, RELOCATABLE)
        and _is_size(container.offset)
        and all(_is_sound_entry(entry) for entry in container.entries)
    )


def _is_sound_entry(entry: Entry) -> bool:
    return (
        entry.kind in get_args(Kind)
        and entry.compression in get_args(Compression)
        and isinstance(entry.arch, str)
        and bool(_ARCH.fullmatch(entry.arch))
        and isinstance(entry.ptx_version, str)
        and bool(_PTX.fullmatch(entry.ptx_version))
        and _is_size(entry.stored_size)
        and _is_size(entry.size)
    )


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
