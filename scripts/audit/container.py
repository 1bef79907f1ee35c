"""An image's file system, listed from inside by the image's own Python: in seconds, whatever the image's size.

The listing is what a program of the image prints: it is complete or worth nothing, and each value in it is checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import requests
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Mount

import scripts.gpucode
from scripts.audit.library import Library, load_libraries
from scripts.engine import Engine
from scripts.gpucode import Compression, Container, Entry, Kind
from scripts.gpucode.fatbin import LINKED, RELOCATABLE

LABEL = "io.hallmark.audit"
TIMEOUT_S = 900
MEMORY = 2 << 30
_PYTHONS = ("python3", "python")
_RUN = "import sys; sys.path.insert(0, '/hallmark'); from scripts.audit.inside import main; main()"
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
    """What `inside.py` printed; None unless it is all there and all of it is what it should be."""
    try:
        *values, end = (json.loads(line) for line in text.splitlines())
        libraries = load_libraries(values)
        if end != {"end": len(libraries)} or not all(map(_is_sound, libraries)):
            return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return sorted(libraries, key=lambda library: library.path)


def _run(engine: Engine, digest: str, python: str) -> bytes:
    """What a container printed that ended by itself with exit code 0; else nothing."""
    container: Any = None
    try:
        container = engine.client.containers.create(digest, **_options(python))
        container.start()
        code = _wait(container)
        return bytes(container.logs(stdout=True, stderr=False)) if code == 0 else b""
    except APIError:  # the image lacks this program, or the engine is on another machine and cannot mount ours
        return b""
    finally:
        if container is not None:
            _remove(container)


def _options(python: str) -> dict[str, Any]:
    here = Path(__file__)
    reader = Path(scripts.gpucode.__file__).parent
    return {
        # Isolated and without site-packages: none of the image's own modules or start-up files take part.
        "entrypoint": [python, "-I", "-S", "-B", "-c", _RUN],
        "command": [],
        "labels": {LABEL: "1"},
        # NVIDIA's runtime, where it is the default one, would mount the host's libraries among the image's.
        "environment": {"NVIDIA_VISIBLE_DEVICES": "void", "LD_PRELOAD": ""},
        "healthcheck": {"test": ["NONE"]},
        "working_dir": "/",
        "user": "0:0",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "cap_add": ["DAC_READ_SEARCH"],  # root without it cannot read what others keep to themselves
        "security_opt": ["no-new-privileges"],
        "pids_limit": 64,
        "mem_limit": MEMORY,
        "memswap_limit": MEMORY,
        "mounts": [
            Mount("/hallmark/scripts/gpucode", str(reader.resolve()), type="bind", read_only=True),
            Mount(
                "/hallmark/scripts/audit/inside.py",
                str(here.with_name("inside.py").resolve()),
                type="bind",
                read_only=True,
            ),
        ],
        "log_config": LogConfig(type="json-file", config={"max-size": "200m"}),
    }


def _wait(container: Any) -> int:
    try:
        return int(container.wait(timeout=TIMEOUT_S)["StatusCode"])
    except requests.RequestException:
        container.reload()  # raises where it was the engine that went away
        if container.status != "running":
            return int(container.attrs["State"]["ExitCode"])
        container.kill()
        return -1


def _remove(container: Any) -> None:
    with suppress(NotFound):
        container.remove(force=True)


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
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
