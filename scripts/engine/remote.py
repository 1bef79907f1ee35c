"""An engine on another machine: what a container is to see of this one is copied there, and no path of it is named.

A folder travels in a carrier: a container of the same image that is never started, with an empty volume in each place.
The container itself has the carrier's volumes, read-only, and they end with it.
"""

from __future__ import annotations

import secrets
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any, cast

import docker
from docker.errors import APIError
from docker.types import Mount

from scripts.console import note
from scripts.engine.client import FAILURES
from scripts.engine.dial import ask_version, connect, environment_of, name_engine
from scripts.engine.engine import API_TIMEOUT_S, Engine
from scripts.engine.host import find_shortcoming
from scripts.engine.sandbox import NAME
from scripts.errors import Undecided
from scripts.text import one_line

KEPT_AT = "/kept"  # where the carrier of a shared folder has it
ABANDONED_S = 24 * 3600  # a carrier is as old as the run that it is for
_SHOWN = 200  # characters of a version in a sentence


@dataclass
class _Shared:
    """A folder that containers write to, and its carrier once one of them was made."""

    carrier: Any = None
    lock: Lock = field(default_factory=Lock)


@dataclass(frozen=True)
class RemoteEngine(Engine):
    """An engine that shares no file system with this machine. `host` is its address, or a docker context's name."""

    api: str = ""
    facts: dict[str, str] = field(
        default_factory=dict, repr=False, compare=False
    )  # what its machine has said of itself
    _shared: dict[str, _Shared] = field(default_factory=dict, repr=False, compare=False)

    @property
    def away(self) -> bool:
        return True

    @property
    def mend(self) -> str:
        answer = f"`docker {' '.join(name_engine(self.host))} version`"
        return f"see that {answer} answers, then run the same command again: it goes on with what is left"

    @cached_property
    def client(self) -> docker.DockerClient:
        """The SDK's client, whose containers see copies of this machine's folders."""
        return self.carrying(connect(self.host, self.environment, self.api, API_TIMEOUT_S))

    def carrying(self, client: Any) -> docker.DockerClient:
        """A client as it is, but that it makes containers as this engine can."""
        return cast(docker.DockerClient, _Client(client, self._shared))

    @contextmanager
    def sharing(self, folder: Path) -> Iterator[None]:
        """Keep on that machine what containers write to a folder, until the block ends. Nothing of it comes back."""
        place = str(folder.resolve())
        self._shared[place] = shared = _Shared()
        try:
            yield
        finally:
            del self._shared[place]
            if shared.carrier:
                try:
                    shared.carrier.remove(force=True, v=True)
                except FAILURES as error:
                    note(f"{self.host}: what servers compiled there is left behind: {error} (`nox -s clean`)")


class _Client:
    """An SDK's client with other containers."""

    def __init__(self, client: Any, shared: Mapping[str, _Shared]) -> None:
        self._client = client
        self.containers = _Containers(client.containers, shared)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class _Containers:
    """The SDK's containers; those that are made are given volumes where they were to have folders of this machine."""

    def __init__(self, containers: Any, shared: Mapping[str, _Shared]) -> None:
        self._containers, self._shared = containers, shared

    def __getattr__(self, name: str) -> Any:
        return getattr(self._containers, name)

    def create(self, image: str, *, mounts: Sequence[Mount] = (), **options: Any) -> Any:
        """Make a container, after the carrier of what it is to read."""
        read = {mount["Target"]: Path(mount["Source"]) for mount in mounts if mount["ReadOnly"]}
        written = [
            Mount(mount["Target"], self._find_volume(image, mount["Source"]), type="volume", no_copy=True)
            for mount in mounts
            if not mount["ReadOnly"]
        ]
        if not read:
            return self._containers.create(image, mounts=written, **options)
        carrier = _carry(self._containers, image, read)
        try:
            made = self._containers.create(image, mounts=written, volumes_from=[f"{carrier.name}:ro"], **options)
        except BaseException:
            with suppress(*FAILURES):
                carrier.remove(force=True, v=True)
            raise
        carrier.remove(force=True, v=False)  # the volumes are the container's now, and go when it does
        return made

    def _find_volume(self, image: str, place: str) -> str:
        """The volume that stands for a folder that is written to; made for the first container that has it."""
        assert place in self._shared, f"{place} is written to, and nobody shares it"
        shared = self._shared[place]
        with shared.lock:
            if shared.carrier is None:
                shared.carrier = _carry(self._containers, image, {KEPT_AT: Path(place)})
                shared.carrier.reload()
            [mount] = shared.carrier.attrs["Mounts"]
            return str(mount["Name"])


def open_remote(address: str, path: str | None) -> RemoteEngine:
    """The engine of an address or a context, with the docker CLI found on `path`.

    Raises Undecided, naming it, where it does not answer, is too old or keeps images otherwise.
    """
    environment = environment_of(path)
    said = ask_version(address, environment)
    version = one_line(said.get("Version"), _SHOWN)
    engine = RemoteEngine(address, embedded=False, version=version, environment=environment, api=said["ApiVersion"])
    with engine.explaining():
        status = {str(key): str(value) for key, value in engine.client.info().get("DriverStatus") or []}
    if why := find_shortcoming(version, status.get("driver-type", "")):
        mend = "on that machine, have Docker Engine 26 or newer with the containerd image store"
        raise Undecided(why, address, mend)
    return engine


def remove_left(engine: Engine) -> None:
    """Remove carriers of runs that were killed, with what is in them. Raises Undecided where the engine fails."""
    with engine.explaining():
        for container in engine.client.containers.list(all=True, filters={"name": f"^/?{NAME}", "status": "created"}):
            made = datetime.fromisoformat(f"{str(container.attrs['Created'])[:19]}+00:00")
            if time.time() - made.timestamp() > ABANDONED_S:
                container.remove(force=True, v=True)


def _carry(containers: Any, image: str, folders: Mapping[str, Path]) -> Any:
    """A container that has a copy of each folder, in a volume, at the place in front of it. It never runs."""
    name = f"{NAME}{secrets.token_hex(8)}"
    try:
        carrier = containers.create(
            image,
            name=name,
            entrypoint=["-"],
            command=[],
            network_mode="none",
            mounts=[Mount(target, "", type="volume", no_copy=True) for target in folders],
        )
        for target, folder in folders.items():
            with _pack(folder, target) as stream:
                if not carrier.put_archive("/", stream):
                    raise APIError(f"the engine did not take {target}")
        return carrier
    except BaseException:
        # The engine may have made it before the answer was lost.
        with suppress(*FAILURES):
            containers.get(name).remove(force=True, v=True)
        raise


@contextmanager
def _pack(folder: Path, target: str) -> Iterator[IO[bytes]]:
    """A folder as an archive to be unpacked at the root; modes are kept, and everything is root's."""
    with TemporaryFile() as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.add(folder, target.lstrip("/"), filter=_own)
        stream.seek(0)
        yield stream


def _own(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
