"""How a server in a container is reached from this machine, and what the container can reach itself."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any

from scripts.engine import Engine
from scripts.engine.client import NONSENSE
from scripts.errors import ConfigError, Undecided
from scripts.serve.model import Model

BRIDGE = "bridge"


class Way(Enum):
    """From no network at all to one that leads everywhere. In each, 127.0.0.1 alone has the port."""

    ENTERED = "the container has no network at all"
    INTERNAL = "the container has a network that leads nowhere else"
    PUBLISHED = "the container has a network"


def choose_way(engine: Engine, model: Model) -> Way:
    """The most closed way that the engine, the user and the model allow.

    Raises ConfigError for a model that has to be downloaded by a container that would have no network.
    """
    with engine.explaining():
        info = engine.client.info()
        networks = {str(each.name) for each in engine.client.networks.list()}
        is_apart = _is_apart(info)
    if model.folder is None:
        if BRIDGE not in networks:
            step = f"hf download {model.name} --local-dir FOLDER, then serve FOLDER; or use a Docker of the host's own"
            raise ConfigError("to be downloaded, and the engine gives containers no network", model.name, step)
        return Way.PUBLISHED
    here = engine.host.startswith("unix://")
    if here and os.geteuid() == 0:
        return Way.ENTERED
    return Way.INTERNAL if here and not is_apart else Way.PUBLISHED


def _is_apart(info: dict[str, Any]) -> bool:
    """Whether the engine's bridges are in a machine or namespace of its own, and not to be reached from here."""
    rootless = any("rootless" in str(option) for option in info.get("SecurityOptions") or [])
    return rootless or "Docker Desktop" in str(info.get("OperatingSystem", ""))


def open_namespace(container: Any) -> int:
    """The open file of a running container's network namespace. Raises Undecided where it is none of this machine's."""
    try:
        pid = int(container.attrs["State"]["Pid"])
    except NONSENSE:
        raise _not_here(container, "the engine does not say which it is") from None
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_here(container, error.strerror or "") from error
    try:
        # Asked after it was opened: then it is this container's, or nothing is.
        if str(container.id) not in Path(f"/proc/{pid}/cgroup").read_text():
            raise _not_here(container, f"process {pid} is another's")
    except (OSError, Undecided) as error:
        os.close(namespace)
        raise error if isinstance(error, Undecided) else _not_here(container, error.strerror or "") from error
    return namespace


def _not_here(container: Any, why: str) -> Undecided:
    cause = f"the container is no process of this machine: {why}"
    return Undecided(cause, str(container.name), "HALLMARK_ENGINE=embedded, or run it as a user who is not root")
