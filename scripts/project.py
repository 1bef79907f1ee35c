"""A checkout, what it builds, and the site that it is on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.errors import ConfigError, Problem
from scripts.matrix import Matrix, load_matrix
from scripts.model import BuildOptions
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
