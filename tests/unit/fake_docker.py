"""A Docker Engine in memory: images by digest with their tags, containers that end as a test says, and no socket."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound, NotFound

from scripts.engine import Engine
from scripts.engine.remote import RemoteEngine

Act = Callable[[], Any]


def raise_(error: BaseException) -> Any:
    raise error


class FakeDocker:
    """Stands in for `docker.DockerClient`: what of it this project uses, and no more."""

    def __init__(self) -> None:
        self.tags: dict[str, set[str]] = {}
        self.made: dict[str, FakeContainer] = {}
        self.created: list[tuple[str, dict[str, Any]]] = []
        self.behave: Callable[[FakeContainer], None] = lambda container: None
        self.on_create: Act = lambda: None
        self.alive = True
        self.images = FakeImages(self)
        self.containers = FakeContainers(self)
        self.networks = FakeNetworks(self)
        self.entry_points: dict[str, list[str]] = {}
        self.api = self

    def engine(self, folder: Path | None = None, *, embedded: bool = False) -> Engine:
        engine = FakeEngine("unix:///run/fake.sock", embedded=embedded, version="28.5.1")
        engine.__dict__["client"] = self  # where `cached_property` keeps it
        return engine

    def create(self, image: str, *, name: str, **options: Any) -> FakeContainer:
        self.check()
        self.created.append((image, options))
        container = self.made[name] = FakeContainer(self, name)
        self.behave(container)
        self.on_create()
        return container

    def load_image(self, source: io.RawIOBase) -> list[dict[str, str]]:
        self.check()
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if member.name == "index.json" and stream:
                    [entry] = json.loads(stream.read())["manifests"]
        self.tags.setdefault(entry["digest"], set())
        return [{"stream": "Loaded image"}]

    def info(self) -> dict[str, Any]:
        self.check()
        return {"DockerRootDir": "/no/such/folder"}

    def ping(self) -> bool:
        self.check()
        return True

    def check(self) -> None:
        if not self.alive:
            raise requests.ConnectionError("the engine has gone")


class FakeEngine(Engine):
    """An engine whose command line prints nothing and succeeds."""

    def query(self, arguments: list[str]) -> str:
        self.client.ping()
        return ""


class FakeImage:
    def __init__(self, docker: FakeDocker, digest: str) -> None:
        self.docker, self.id = docker, digest
        self.attrs: dict[str, Any] = {"Config": {"Entrypoint": docker.entry_points.get(digest)}}

    @property
    def tags(self) -> list[str]:
        return list(self.docker.tags[self.id])

    def tag(self, reference: str) -> bool:
        for tags in [*self.docker.tags.values()]:
            tags.discard(reference)
        self.docker.tags[self.id].add(reference)
        return True


class FakeImages:
    def __init__(self, docker: FakeDocker) -> None:
        self.docker = docker

    def get(self, reference: str) -> FakeImage:
        self.docker.check()
        for digest, tags in [*self.docker.tags.items()]:
            if reference == digest or reference in tags:
                return FakeImage(self.docker, digest)
        raise ImageNotFound(f"no such image: {reference}")

    def remove(self, reference: str) -> None:
        image = self.get(reference)
        if reference in self.docker.tags[image.id]:
            self.docker.tags[image.id].remove(reference)
        else:
            del self.docker.tags[image.id]

    def list(self, **_: Any) -> list[FakeImage]:
        self.docker.check()
        return [FakeImage(self.docker, digest) for digest in self.docker.tags]


class FakeContainers:
    def __init__(self, docker: FakeDocker) -> None:
        self.docker = docker

    def create(self, image: str, **options: Any) -> FakeContainer:
        return self.docker.create(image, **options)

    def get(self, name: str) -> FakeContainer:
        self.docker.check()
        if name not in self.docker.made or self.docker.made[name].removed:
            raise NotFound(f"no such container: {name}")
        return self.docker.made[name]

    def list(self, *, all: bool, filters: dict[str, str]) -> list[FakeContainer]:  # noqa: A002
        self.docker.check()
        assert all, "those that have ended, too"
        pattern, status = re.compile(filters["name"]), filters["status"]
        there = [each for each in self.docker.made.values() if not each.removed]
        return [each for each in there if pattern.match(f"/{each.name}") and each.status == status]


class FakeNetworks:
    """The networks by name, each with what it was made of."""

    def __init__(self, docker: FakeDocker) -> None:
        self.docker = docker
        self.there: dict[str, dict[str, Any]] = {"none": {}, "host": {}}

    def list(self, names: list[str] | None = None) -> list[FakeNetwork]:
        """As the engine: a part of a name finds it, too."""
        self.docker.check()
        found = [name for name in self.there if names is None or any(part in name for part in names)]
        return [FakeNetwork(self, name) for name in found]

    def create(self, name: str, **options: Any) -> FakeNetwork:
        self.docker.check()
        assert name not in self.there, "the engine would make a second one of the same name"
        self.there[name] = options
        return FakeNetwork(self, name)


class FakeNetwork:
    def __init__(self, networks: FakeNetworks, name: str) -> None:
        self.networks, self.name = networks, name

    def remove(self) -> None:
        del self.networks.there[self.name]


class FakeContainer:
    """One container. A test sets how it ends: its exit code, its output, and what any of the calls raises."""

    def __init__(self, docker: FakeDocker, name: str) -> None:
        self.docker, self.name = docker, name
        self.code = 0
        self.finished = ""
        self.oom_killed = False
        self.stdout, self.stderr = b"", b""
        self.status = "created"
        self.hangs = False
        self.stream: list[Any] = []  # what follows its output is handed: bytes, an act to call or an error to raise
        self.killed = self.removed = False
        self.stopped: float | None = None
        self.id = "c0ffee"
        self.pid = 1
        self.addresses: dict[str, str] = {}
        self.on_start: Act = lambda: None
        self.on_wait: Act = lambda: None
        self.on_remove: Act = lambda: None
        self.on_stop: Act = lambda: None

    @property
    def attrs(self) -> dict[str, Any]:
        state = {"ExitCode": self.code, "OOMKilled": self.oom_killed, "FinishedAt": self.finished, "Pid": self.pid}
        networks = {name: {"IPAddress": address} for name, address in self.addresses.items()}
        return {"State": state, "NetworkSettings": {"Networks": networks}}

    def start(self) -> None:
        self.docker.check()
        self.on_start()
        self.status = "running" if self.hangs else "exited"

    def wait(self, timeout: float) -> dict[str, int]:
        assert timeout > 0
        self.on_wait()
        self.docker.check()
        if self.hangs and not self.killed:
            raise requests.ReadTimeout("still running")
        return {"StatusCode": self.code}

    def reload(self) -> None:
        self.docker.check()

    def kill(self) -> None:
        if self.status != "running":
            raise APIError("is not running")
        self.status, self.killed, self.code = "exited", True, 137

    def stop(self, timeout: float) -> None:
        self.docker.check()
        self.on_stop()
        self.stopped, self.status = timeout, "exited"

    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        stream: bool = False,
        follow: bool = False,
        since: float | None = None,
    ) -> Any:
        self.docker.check()
        assert stream or stdout != stderr, "results and log are two things"
        if stream:
            assert follow and stdout
            return self._follow()
        return self.stdout if stdout else self.stderr

    def _follow(self) -> Iterator[bytes]:
        for item in self.stream:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, bytes):
                yield item
            else:
                item()

    def remove(self, *, force: bool, v: bool) -> None:
        if self.removed:
            raise NotFound(f"no such container: {self.name}")
        assert force, "a container that still runs is to go, too"
        assert v, "and so are the volumes that the engine made for it"
        self.on_remove()
        self.docker.check()
        self.removed = True


_CONFLICT = requests.Response()
_CONFLICT.status_code = 409


class FarDocker(FakeDocker):
    """An engine on another machine: a path of this one means nothing to it, and it has volumes.

    Of what a container is to be given it takes volumes alone, in the words of the real one; `volumes` has the files of
    each. `seen` is what each container that was started found at its mounts, by path.
    """

    def __init__(self) -> None:
        super().__init__()
        self.volumes: dict[str, dict[str, bytes | int]] = {}
        self.seen: list[dict[str, bytes | int]] = []
        self.host = "ssh://me@gpubox"
        self.on_put: Act = lambda: None

    def far_engine(self) -> RemoteEngine:
        engine = RemoteEngine(self.host, embedded=False, version="28.5.1", api="1.51")
        engine.__dict__["client"] = engine.carrying(self)
        return engine

    def info(self) -> dict[str, Any]:
        return super().info() | {"NCPU": 32, "KernelVersion": "6.1.0", "Name": "gpubox-7"}

    def create(self, image: str, *, name: str, **options: Any) -> FakeContainer:
        self.check()
        there = self.made.get(name)
        if there and not there.removed:
            raise APIError("name in use", _CONFLICT)
        mounts = options.get("mounts", ())
        assert not options.keys() & {"volumes", "binds"}
        assert {mount["Type"] for mount in mounts} <= {"volume"}, "a path of this machine was sent"
        assert not any("/" in str(mount["Source"]) for mount in mounts)
        container = FarContainer(self, name)
        for mount in mounts:
            if not mount["Source"] and mount["ReadOnly"]:
                raise APIError("must not set ReadOnly mode when using anonymous volumes")
            volume = str(mount["Source"]) or f"v{len(self.made)}-{len(container.mounts)}"
            if not mount["Source"]:
                container.anonymous.add(volume)
                self.volumes[volume] = {}
            assert volume in self.volumes and mount["VolumeOptions"]["NoCopy"]
            container.mounts[mount["Target"]] = (volume, not mount["ReadOnly"])
        for each in options.get("volumes_from", ()):
            other, _, mode = each.partition(":")
            assert mode == "ro", "what is under test must not write to what tests it"
            carrier = self.made[other]
            assert isinstance(carrier, FarContainer) and not carrier.removed
            container.anonymous |= carrier.anonymous
            container.mounts |= {target: (volume, False) for target, (volume, _) in carrier.mounts.items()}
        self.created.append((image, options))
        self.made[name] = container
        self.behave(container)
        self.on_create()
        return container


class FarContainer(FakeContainer):
    """A container with volumes; those without a name of their own end with the last container that has them."""

    def __init__(self, docker: FarDocker, name: str) -> None:
        super().__init__(docker, name)
        self.far = docker
        self.mounts: dict[str, tuple[str, bool]] = {}
        self.anonymous: set[str] = set()
        self.made_at = "2024-01-01T00:00:00.123456789Z"
        self.signals: list[str] = []

    @property
    def attrs(self) -> dict[str, Any]:
        mounts = [
            {"Type": "volume", "Name": volume, "Destination": target} for target, (volume, _) in self.mounts.items()
        ]
        return super().attrs | {"Mounts": mounts, "Created": self.made_at}

    def put_archive(self, path: str, data: Any) -> bool:
        self.docker.check()
        self.far.on_put()
        assert path == "/" and self.status == "created"
        with tarfile.open(fileobj=data) as tar:
            for member in tar:
                assert (member.uid, member.gid, member.uname) == (0, 0, "")
                [(target, volume)] = [
                    (target, volume)
                    for target, (volume, writable) in self.mounts.items()
                    if writable and f"/{member.name}/".startswith(f"{target}/")
                ]
                stream = tar.extractfile(member) if member.isfile() else None
                place = f"/{member.name}".removeprefix(target)
                self.far.volumes[volume][place] = stream.read() if stream else member.mode
        return True

    def start(self) -> None:
        files = {
            f"{target}{path}": found
            for target, (volume, _) in self.mounts.items()
            for path, found in self.far.volumes[volume].items()
        }
        self.far.seen.append(files)
        super().start()

    def kill(self, signal: str = "SIGKILL") -> None:
        self.docker.check()
        if self.status != "running":
            raise APIError("is not running")
        self.signals.append(signal)
        self.status, self.killed = "exited", True
        self.code = 137 if signal == "SIGKILL" else 0

    def remove(self, *, force: bool, v: bool) -> None:
        if self.removed:
            raise NotFound(f"no such container: {self.name}")
        assert force
        self.on_remove()
        self.docker.check()
        self.removed = True
        if v:
            others = [each for each in self.docker.made.values() if isinstance(each, FarContainer) and not each.removed]
            used = {volume for each in others for volume, _ in each.mounts.values()}
            for volume in self.anonymous - used:
                self.far.volumes.pop(volume, None)
