"""The Docker Engine that the host already has: is it good enough?"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from docker.errors import DockerException
from packaging.version import InvalidVersion, Version

from scripts.engine.client import NONSENSE, Client
from scripts.engine.engine import Engine
from scripts.text import one_line

# Engine 26.0 is the first with BuildKit 0.13, which `rewrite-timestamp` and building from scratch need. Debian's builds
# of the engine do not say which BuildKit they hold, so the engine's own version is asked.
MINIMUM = Version("26.0")
_SHOWN = 200  # characters of an address or a version in a sentence
CONTAINERD = "io.containerd.snapshotter.v1"


def probe_host() -> tuple[Engine | None, str]:
    """The host's engine, or why it will not do: none answers, too old, another image store, or a CLI without buildx."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        client = Client(host, 10)
        version = one_line(client.version()["Version"], _SHOWN)
        store = read_store(client.info())
    except (DockerException, OSError):
        return None, f"no Docker Engine answers at {one_line(host, _SHOWN)}"
    except NONSENSE:
        return None, f"what answers at {one_line(host, _SHOWN)} is no Docker Engine"
    if why := find_shortcoming(version, store):
        return None, why
    try:
        subprocess.run(["docker", "buildx", "version"], capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None, "`docker buildx` does not answer"
    return Engine(host=host, embedded=False, version=version), ""


def read_store(info: Mapping[str, Any]) -> str:
    """The kind of image store that an engine has, by what it says of itself. Raises NONSENSE's kinds."""
    return {str(key): str(value) for key, value in info.get("DriverStatus") or []}.get("driver-type", "")


def find_shortcoming(version: str, driver_type: str) -> str:
    """Why an engine of this version and image store cannot build our images, or nothing."""
    if _parse(version) < MINIMUM:
        needed = f"{MINIMUM.major} or newer is needed"
        return f"Docker Engine {version} is too old (its BuildKit is older than 0.13): {needed}"
    if driver_type != CONTAINERD:
        return f"Docker Engine {version} does not use the containerd image store"
    return ""


def _parse(version: str) -> Version:
    """An engine's version; distributions add words of their own (`24.0.7-0ubuntu4`). One without a number is 0."""
    for text in (version, re.split(r"[-~+]", version)[0]):
        try:
            return Version(text)
        except InvalidVersion:
            continue
    return Version("0")
