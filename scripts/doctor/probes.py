"""The probes: each looks at one thing of this machine, and starts, writes and changes nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from scripts.doctor.ask import explain
from scripts.doctor.find_engine import find_engine
from scripts.doctor.seen import Cgroup, Clock, Disk, EngineSeen, GateSeen, Memory, RegistrySeen
from scripts.engine import Engine
from scripts.engine.images import digest_of_tag
from scripts.engine.remote import open_remote
from scripts.errors import HallmarkError, Undecided
from scripts.publish.stamp import NAMESPACE, name_repository
from scripts.redact import Private, find_private
from scripts.reference import Repository
from scripts.registry.auth import find_credentials
from scripts.registry.client import Registry
from scripts.registry.transport import Transport
from scripts.registry.withdrawn import read_withdrawal
from scripts.site import Site
from scripts.smoke.gpu import Gpu, find_gpus, request_all, request_device
from scripts.workspace import Workspace

Tag = tuple[str, str]  # an image's name, and a tag of it
NVIDIA = "0x10de"  # the vendor's number on the PCI bus
DISPLAY = "0x03"  # what the class of a display controller begins with; GPUs without a screen are of it, too


def count_nvidia_devices(bus: Path = Path("/sys/bus/pci/devices")) -> int:
    """How many GPUs of NVIDIA the PCI bus has, whether or not there is a driver."""
    count = 0
    for device in bus.glob("*"):
        with suppress(OSError):
            kind = (device / "vendor").read_text().strip(), (device / "class").read_text()[:4]
            count += kind == (NVIDIA, DISPLAY)
    return count


def find_access(engine: Engine, gpu: Gpu) -> str:
    """The driver of the request that the engine takes for a GPU. Raises Undecided where it takes none."""
    return str(request_device(engine, gpu).driver)


def look_at_gate(address: str, path: str | None) -> GateSeen:
    """The engine of HALLMARK_GPU_HOST, and the driver of the request that it takes for GPUs. Raises Undecided."""
    engine = open_remote(address, path)
    try:
        return GateSeen(address, engine.version, str(request_all(engine).driver))
    except Undecided as error:
        return GateSeen(address, engine.version, refusal=explain(error))


def look_at_disk(folder: Path) -> Disk:
    """The file system that holds a folder, or would hold it once made. Raises OSError where it cannot be looked at."""
    there = folder
    while True:
        try:
            device = there.stat().st_dev
            break
        except FileNotFoundError:
            there = there.parent
    return Disk(folder, device, shutil.disk_usage(there).free, os.access(there, os.W_OK | os.X_OK))


def read_memory(file: Path = Path("/proc/meminfo")) -> Memory:
    """This machine's memory. Raises OSError or KeyError where the kernel does not say."""
    found = {name: int(kib) << 10 for name, kib in re.findall(r"^(\w+): +(\d+) kB$", file.read_text(), re.M)}
    return Memory(found["MemTotal"], found["MemAvailable"])


def read_cgroup(folder: Path = Path("/sys/fs/cgroup")) -> Cgroup:
    """This machine's control groups. Raises OSError where there are none."""
    unified = folder / "cgroup.controllers"
    if unified.exists():
        return Cgroup("2", "memory" in unified.read_text().split())
    return Cgroup("1", "memory" in {path.name for path in folder.iterdir()})


def read_clock(root: Path) -> Clock:
    """The time, and the newest that a checkout's lock files know of: they were written before now."""
    newest = 0
    for file in [root / "matrix.lock", *root.glob("images/*/lock/*.toml")]:
        with suppress(FileNotFoundError), file.open(encoding="utf-8", errors="replace") as stream:
            if found := re.search(r"^epoch = (\d+)$", stream.read(1000), re.M):
                newest = max(newest, int(found[1]))
    return Clock(time.time(), newest)


def ask_registry(name: str, transport: Transport | None = None) -> RegistrySeen:
    """Ask the registry of HALLMARK_REGISTRY once who it is. Raises ConfigError for a name that none could have."""
    repository = Repository.parse(f"{name}/image")
    credentials = find_credentials(repository.host) is not None
    try:
        reply = (transport or Transport()).send(repository, "GET", repository.root, (200,))
    except HallmarkError as error:
        return RegistrySeen(repository.host, credentials, refusal=explain(error))
    ahead: float | None = None
    with suppress(KeyError, ValueError, TypeError):
        ahead = parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time()
    return RegistrySeen(repository.host, credentials, ahead)


def find_tags_in_registry(name: str, tags: Collection[Tag], registry: Registry | None = None) -> frozenset[Tag]:
    """Those of the tags that the registry has. One that was withdrawn is none: nothing can be pulled by it."""
    asked = registry or Registry()
    held = {tag: asked.get_manifest(name_repository(name, tag[0]), tag[1]) for tag in tags}
    return frozenset(tag for tag, manifest in held.items() if manifest and not read_withdrawal(manifest))


def find_tags_in_engine(engine: Engine, tags: Collection[Tag]) -> frozenset[Tag]:
    """Those of the tags that the engine has."""
    return frozenset(tag for tag in tags if digest_of_tag(engine, f"{NAMESPACE}/{tag[0]}:{tag[1]}"))


def read_revision(root: Path) -> str:
    """The checkout's revision in git, and whether its files differ from it. Raises OSError or ValueError for none."""
    revision = _git(root, "rev-parse", "--short=12", "HEAD")
    return f"{revision}, with changes" if _git(root, "status", "--porcelain") else revision


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if run.returncode != 0:
        raise ValueError("git knows no revision here")
    return run.stdout.strip()


def describe_system() -> str:
    """Python, the kernel and the processors, in one line."""
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"Python {python}, {platform.system()} {platform.release()}, {platform.machine()}, {cores} processors"


@dataclass(frozen=True)
class Probes:
    """Everything that leads out of this program, to be replaced where there is no machine."""

    engine: Callable[[Path, Site, Workspace], EngineSeen] = find_engine
    gpus: Callable[[], list[Gpu]] = find_gpus
    devices: Callable[[], int] = count_nvidia_devices
    access: Callable[[Engine, Gpu], str] = find_access
    gate: Callable[[str, str | None], GateSeen] = look_at_gate
    disk: Callable[[Path], Disk] = look_at_disk
    memory: Callable[[], Memory] = read_memory
    cgroup: Callable[[], Cgroup] = read_cgroup
    clock: Callable[[Path], Clock] = read_clock
    registry: Callable[[str], RegistrySeen] = ask_registry
    tags_in_registry: Callable[[str, Collection[Tag]], frozenset[Tag]] = find_tags_in_registry
    tags_in_engine: Callable[[Engine, Collection[Tag]], frozenset[Tag]] = find_tags_in_engine
    revision: Callable[[Path], str] = read_revision
    system: Callable[[], str] = describe_system
    private: Callable[[], Private] = find_private
