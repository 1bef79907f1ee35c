"""Which engine a build here would use, by the same rules as `open_engine`, and without starting one."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.doctor.seen import EngineSeen
from scripts.engine import Embedded, Engine, probe_host
from scripts.engine.host import read_store
from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.lock import read_slot, tools_slot
from scripts.matrix import load_matrix
from scripts.model import LockedFile
from scripts.site import Site
from scripts.workspace import Workspace

UP = "nox -s engine -- up"
NOT_ROOT = "run as root, or install Docker Engine 26 or newer with the containerd image store"

# What mends a host's engine, by a phrase of why it will not do.
_MENDS = {
    "no Docker Engine answers": "`systemctl start docker`, and see that `docker version` may ask it as this user",
    "is too old": "install Docker Engine 26 or newer: https://docs.docker.com/engine/install/",
    "containerd image store": 'put {"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json, then '
    "`systemctl restart docker`",
    "buildx": "install `docker-buildx-plugin` (Debian's: `docker-buildx`)",
}


def find_engine(root: Path, site: Site, workspace: Workspace) -> EngineSeen:
    """The engine that a build would use, or what keeps it from being used. Starts, fetches and writes nothing.

    Raises ConfigError where the lock that names the embedded engine's packages cannot be read.
    """
    why = "HALLMARK_ENGINE=embedded"
    if site.engine != "embedded":
        engine, why = probe_host()
        if engine:
            return _ask(engine)
        if site.engine == "host":
            return EngineSeen(embedded=False, lacking=why, next_step=mend_host(why))
    matrix = load_matrix(root)
    packages = [file for file in read_slot(root, tools_slot(matrix)).files if file.kind == "deb"]
    embedded = Embedded(workspace.engine)
    if found := embedded.find(packages):
        return _ask(found, why)
    version = next((package.version for package in packages if package.name == "docker.io"), "")
    lacking, next_step = _find_lacking(embedded, packages, Cache(site.cache))
    return EngineSeen(embedded=True, why=why, version=version, lacking=lacking, next_step=next_step)


def mend_host(why: str) -> str:
    """What mends a host's engine that will not do for this reason."""
    mends = [mend for phrase, mend in _MENDS.items() if phrase in why]
    return "; or ".join([*mends, "unset HALLMARK_ENGINE for the embedded engine"])


def _find_lacking(embedded: Embedded, packages: list[LockedFile], cache: Cache) -> tuple[str, str]:
    """What keeps an embedded engine that does not answer from being started by a build, and what mends that."""
    root = os.geteuid() == 0
    if embedded.is_running:
        return "it runs and does not answer", "`nox -s engine -- down`, then `up`" if root else NOT_ROOT
    if not root:
        return "it needs root", NOT_ROOT
    if not embedded.programs(packages).is_dir():
        missing = [package for package in packages if not cache.holds(package)]
        if missing:
            return f"{len(missing)} of its {len(packages)} packages are not in the cache", f"`{UP}` fetches them"
    return "", ""


def _ask(engine: Engine, why: str = "") -> EngineSeen:
    """What a running engine says of itself. Raises Undecided where it fails."""
    seen = EngineSeen(engine.embedded, why, engine, engine.version)
    with engine.explaining():
        info = engine.client.info()
        read_store(info)  # what of it is read later on can be
    try:
        words = engine.query(["buildx", "version"]).split()
    except Undecided:
        lacking = "`docker buildx` does not answer"
        return EngineSeen(**vars(seen) | {"info": info, "lacking": lacking, "next_step": f"`{UP}`"})
    return EngineSeen(**vars(seen) | {"info": info, "buildx": words[1] if len(words) > 1 else ""})
