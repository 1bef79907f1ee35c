"""A checkout, what it builds, the site that it is on, and the engine that builds it there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.assemble.types import BuildOptions
from scripts.console import note
from scripts.engine import Embedded, Engine, probe_host
from scripts.engine.remote import RemoteEngine, open_remote
from scripts.errors import ConfigError, Problem, Undecided
from scripts.fetch import fetch_files
from scripts.lock import read_slot, tools_slot
from scripts.matrix import Matrix, load_matrix
from scripts.site import Site
from scripts.workspace import Workspace


@dataclass(frozen=True)
class Project:
    """A checkout, what it builds, and the site that it is on."""

    matrix: Matrix
    site: Site
    workspace: Workspace

    @classmethod
    def open(cls, root: Path) -> Project:
        """Read the checkout's configuration and the site's. Raises ConfigError with every mistake."""
        problems: list[Problem] = []
        try:
            site = Site.from_environment()
        except ConfigError as error:
            problems += error.problems
        try:
            matrix = load_matrix(root)
        except ConfigError as error:
            raise ConfigError([*problems, *error.problems]) from error
        if problems:
            raise ConfigError(problems)
        return cls(matrix, site, Workspace(root))

    def build_options(self, *, slim: bool = True) -> BuildOptions:
        """What the site and the matrix say of every build; `slim` is whether the command line leaves slimming on."""
        return BuildOptions(self.site.compression, self.matrix.slim and slim)


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
