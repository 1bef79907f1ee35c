"""The engine of a checkout: the host's or its own, and another machine's beside it."""

from __future__ import annotations

from pathlib import Path

from scripts.console import note
from scripts.engine import Embedded, Engine, probe_host
from scripts.engine.remote import RemoteEngine, open_remote
from scripts.errors import Undecided
from scripts.fetch import fetch_files
from scripts.lock import read_slot, tools_slot
from scripts.project import Project


def open_engine(project: Project) -> Engine:
    """The host's engine where it will do, else the embedded one, started if need be (HALLMARK_ENGINE decides)."""
    why = ""
    if project.site.engine != "embedded":
        engine, why = probe_host()
        if engine:
            return engine
    if project.site.engine == "host":
        raise Undecided(why, "HALLMARK_ENGINE=host", "mend the host's Docker, or unset the variable")
    lock = read_slot(project.matrix.root, tools_slot(project.matrix))
    packages = [file for file in lock.files if file.kind == "deb"]

    def fetch() -> list[Path]:
        note(f"using the embedded engine ({why or 'HALLMARK_ENGINE=embedded'})")
        cache = fetch_files(packages, project.site, project.matrix.platform)
        return [cache.path(package.sha256) for package in packages]

    return Embedded(project.workspace.engine).up(packages, fetch)


def find_remote(project: Project, path: str | None) -> RemoteEngine | None:
    """The engine of HALLMARK_GPU_HOST, with the docker CLI found on `path`. Raises Undecided where it will not do."""
    return open_remote(project.site.gpu_host, path) if project.site.gpu_host else None


def find_running(project: Project) -> Engine | None:
    """The engine that `open_engine` would use, if it runs already."""
    if project.site.engine != "embedded":
        engine, _ = probe_host()
        if engine:
            return engine
    return open_engine(project) if Embedded(project.workspace.engine).is_running else None
