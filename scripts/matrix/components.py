"""What is compiled here: components, each of which becomes one wheel, and the sources that they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.errors import ConfigError, Problem
from scripts.matrix.find import find_files


@dataclass(frozen=True)
class Source:
    """One source tree of a component, from exactly one of an sdist, an archive or a git repository.

    `sdist` is `name==version` on the site's package index. An archive has its `url`, `sha256` and, where that is known,
    its `size` in bytes. Of a `repository` the `commit` is meant; `tag` is what upstream calls it, and `submodules` are
    the folders of those that come along, with all below them; None: all. `pin` is a file of the main source, in which
    upstream's own build names what it would download: what is written has to be that, and a commit need not be written.
    `lines` are the CUDA lines that it is for (empty: all of the component's), `folder` is what of it is meant, and
    `variable` the environment variable that is set to where it lies.
    """

    name: str
    sdist: str = ""
    url: str = ""
    sha256: str = ""
    size: int = 0
    repository: str = ""
    commit: str = ""
    tag: str = ""
    pin: str = ""
    submodules: tuple[str, ...] | None = None
    lines: tuple[str, ...] = ()
    folder: str = ""
    variable: str = ""


@dataclass(frozen=True)
class Memory:
    """GiB that one unit takes at its peak. `heavy` are shell patterns over the paths of sources; the first decides."""

    unit: float
    heavy: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ComponentLine:
    """What a component needs for one CUDA line beside what it always needs."""

    requirements: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Component:
    """One version of something that is compiled into one wheel: `images/IMAGE/components/NAME/VERSION.toml`.

    `distribution` is the wheel's, `requirements` its build environment beside the toolkit's, less what is `absent`
    although something requires it; `arguments` go into its build script's environment. `units` and `cpu_minutes` are
    what compiling it took once, for estimates; 0: nobody knows.
    """

    name: str
    version: str
    folder: Path
    distribution: str
    requirements: tuple[str, ...]
    memory: Memory
    sources: tuple[Source, ...]
    lines: Mapping[str, ComponentLine]
    absent: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    units: int = 0
    cpu_minutes: int = 0

    @property
    def id(self) -> str:
        """How recipes name it: `vllm-0.29.0`."""
        return f"{self.name}-{self.version}"

    @property
    def image(self) -> str:
        """The image whose folder it lies in."""
        return self.folder.parent.parent.name

    @property
    def place(self) -> str:
        """Its file, for messages."""
        return f"images/{self.image}/components/{self.name}/{self.version}.toml"

    @property
    def script(self) -> Path:
        """The build script, which all of its versions share."""
        return self.folder / "build"

    def patches(self) -> list[Path]:
        """The patches of this version's main source, in the order in which they are applied.

        Raises ConfigError where they cannot be listed.
        """
        problems: list[Problem] = []
        found = find_files(self.folder, f"patches/{self.version}/*.patch", problems)
        if problems:
            at = self.folder.relative_to(self.folder.parents[3]).as_posix()
            raise ConfigError([replace(problem, place=f"{at}/{problem.place}") for problem in problems])
        return found

    def requirements_for(self, line: str) -> tuple[str, ...]:
        """What it is compiled with for one CUDA line beside the toolkit's own requirements."""
        return (*self.requirements, *self.lines[line].requirements)

    def absent_for(self, line: str) -> tuple[str, ...]:
        """What stays out of the environment that it is compiled in for one CUDA line."""
        return (*self.absent, *self.lines[line].absent)

    def sources_for(self, line: str) -> tuple[Source, ...]:
        """Those for one CUDA line; the first is the main one."""
        return tuple(source for source in self.sources if not source.lines or line in source.lines)
