"""The container of a server: what it may reach, what it keeps from one start to the next, and how it is ended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import docker.types
from docker.errors import NotFound

from scripts.console import note
from scripts.engine import Engine
from scripts.engine.client import FAILURES, naming_nonsense
from scripts.errors import Undecided
from scripts.serve.follow import Follower
from scripts.serve.forward import HERE
from scripts.serve.model import MOUNTED_AT, Model
from scripts.serve.network import BRIDGE, Way
from scripts.serve.subject import Subject

LABEL = "io.hallmark.serve"
PORT = 8000  # in the container
GIB = 1 << 30
STOP_S = 60  # for requests that are being answered; SGLang takes 5 s and more
HOME = "/home/hallmark"
# Any user may write to this folder of the image, so one may to the volume that the engine makes of it.
MODELS = "/var/tmp"  # noqa: S108
HANDED_ON = (
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
# GiB of key-value cache. Without it vLLM takes nearly all memory there is, or does not start where that is in use.
ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "4"}


@dataclass(frozen=True)
class Wanted:
    """How a server is to be started: its port of 127.0.0.1, more arguments for the engine, and more variables."""

    port: int
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def name_container(port: int) -> str:
    """One for each port and user: what is left of a run that was killed is found again by it."""
    return f"hallmark-serve-{os.getuid()}-{port}"


@contextmanager
def open_container(
    engine: Engine,
    subject: Subject,
    model: Model,
    wanted: Wanted,
    way: Way,
    devices: tuple[docker.types.DeviceRequest, ...],
) -> Iterator[Any]:
    """Start a server's container; when the block ends, stop it in peace and remove it, with its network.

    What a run that was killed left under its name goes first. Raises Undecided where the engine fails.
    """
    name = name_container(wanted.port)
    remove_leftover(engine, name)
    try:
        with engine.explaining():
            if way is Way.INTERNAL:
                engine.client.networks.create(name, driver="bridge", internal=True, labels={LABEL: "1"})
            container = engine.client.containers.create(
                subject.digest, name=name, **_options(subject, model, wanted, way, devices)
            )
            container.start()
            container.reload()
        yield container
    finally:
        end_container(engine, name)


def end_container(engine: Engine, name: str) -> None:
    """Stop a container as its server is used to be stopped, and remove it; a second interruption kills it."""
    try:
        with suppress(NotFound), naming_nonsense():
            container = engine.client.containers.get(name)
            if container.status != "running":
                return
            note("stopping: requests that are being answered end first; Ctrl-C again does not wait for them")
            container.stop(timeout=STOP_S)
    except KeyboardInterrupt:
        note("killed")
    except FAILURES as error:
        note(f"the container could not be stopped: {error}")
    finally:
        remove_leftover(engine, name)


def remove_leftover(engine: Engine, name: str) -> None:
    """Remove a container and its network, whatever they are doing. Raises Undecided where the engine fails."""
    with engine.explaining():
        with suppress(NotFound):
            engine.client.containers.get(name).remove(force=True, v=True)
        for network in engine.client.networks.list(names=[name]):
            if network.name == name:
                network.remove()


def require_running(container: Any, engine: Engine, follower: Follower) -> None:
    """Raises Undecided, with the end of its log, where the server has ended by itself."""
    with engine.explaining():
        container.reload()
        if container.status == "running":
            return
        state, name = container.attrs["State"], str(container.name)
        cause = f"the server ended by itself with exit code {state['ExitCode']}"
        cause += ": something in it was killed for memory" if state["OOMKilled"] else ""
    raise Undecided(
        cause,
        name,
        "read its last lines; arguments for it stand after `--`",
        follower.finish().splitlines(),
    )


def make_command(subject: Subject, model: Model, wanted: Wanted) -> list[str]:
    """What the image's entry point is handed: the user's own arguments last, which then count."""
    launch = subject.server.launch(model.place, model.name, "0.0.0.0", PORT)  # noqa: S104  of the container's own network
    return [*launch[len(subject.server.program) :], *wanted.arguments]


def make_environment(subject: Subject, model: Model, wanted: Wanted) -> dict[str, str]:
    """The container's variables: where caches lie, what a hub and the way to it need, and the user's own."""
    hub = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    return {
        **({} if subject.cell.target.has_gpu else ON_CPU),
        **({"HF_HUB_OFFLINE": "1"} if model.folder else hub),
        "HF_HOME": f"{MODELS}/huggingface",
        "TORCHINDUCTOR_CACHE_DIR": f"{HOME}/.cache/inductor",
        "TRITON_CACHE_DIR": f"{HOME}/.cache/triton",
        **wanted.environment,
    }


def name_volumes(subject: Subject) -> dict[str, str]:
    """The named volumes by the folder that each is: models for all cells; what is compiled, for each its own."""
    return {HOME: f"hallmark-compiled-{subject.cell.id}", MODELS: "hallmark-models"}


def _options(
    subject: Subject, model: Model, wanted: Wanted, way: Way, devices: tuple[docker.types.DeviceRequest, ...]
) -> dict[str, Any]:
    mounts = [docker.types.Mount(place, name, type="volume") for place, name in name_volumes(subject).items()]
    if model.folder:
        mounts.append(docker.types.Mount(MOUNTED_AT, str(model.folder), type="bind", read_only=True))
    networks = {Way.ENTERED: "none", Way.INTERNAL: name_container(wanted.port), Way.PUBLISHED: BRIDGE}
    return {
        "command": make_command(subject, model, wanted),
        "environment": make_environment(subject, model, wanted),
        "labels": {LABEL: "1"},
        "network": networks[way],
        "ports": {f"{PORT}/tcp": (HERE, wanted.port)} if way is Way.PUBLISHED else {},
        "mounts": mounts,
        "device_requests": list(devices),
        "healthcheck": {"test": ["NONE"]},
        "shm_size": GIB,  # with Docker's 64 MiB neither engine starts
        "init": True,  # engines have children whom nobody else reaps
        "read_only": True,
        "tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "log_config": docker.types.LogConfig(type="json-file", config={"max-size": str(50 << 20)}),
    }
