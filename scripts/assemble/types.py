"""What there is to build: images to assemble and components to compile, each known by the id of all that goes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from scripts.engine.images import BUILD_ID_LABEL
from scripts.matrix import Component, Image, Link, Overlap
from scripts.model import Compression, LockedFile, LockedTree


@dataclass(frozen=True)
class Step:
    """One image to assemble. `name` is a candidate's id, or the image's own where it is built in no cells.

    Debian packages and archives among the `files` are inputs of its Dockerfile; each wheel becomes (a part of) a layer.
    `arguments` are what its Dockerfile may declare; `slim` is the compute capability that its wheels are cut down to,
    empty for wheels as they are; `python` is the version X.Y.Z of the interpreter that it stands on.
    What is `compiled` here becomes layers like any wheel, once it is made. `guard` is what the image's guard compares;
    empty where it has none. `build_id` hashes all that goes in: smoke tests, manuals and most of this program are no
    part of it.
    """

    name: str
    image: Image
    parent: Step | None
    files: tuple[LockedFile, ...]
    epoch: int
    labels: Mapping[str, str]
    arguments: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    slim: str = ""
    compression: Compression = "zstd"
    overlaps: tuple[Overlap, ...] = ()
    links: tuple[Link, ...] = ()
    compiled: tuple[CompileStep, ...] = ()
    guard: Mapping[str, str] = field(default_factory=dict)
    build_id: str = field(default="", compare=False)

    @property
    def python_line(self) -> str:
        """The X.Y of its interpreter, as wheels' tags and folders of modules have it."""
        return ".".join(self.python.split(".")[:2])

    @property
    def packages(self) -> tuple[LockedFile, ...]:
        """The Debian packages that its Dockerfile installs."""
        return tuple(file for file in self.files if file.kind == "deb")

    @property
    def inputs(self) -> tuple[LockedFile, ...]:
        """All that its Dockerfile finds in its context `inputs`: Debian packages, and archives of upstream's."""
        return tuple(file for file in self.files if file.kind in ("deb", "archive"))

    @property
    def wheels(self) -> tuple[LockedFile, ...]:
        """The distributions that are laid on top of its shell."""
        return tuple(file for file in self.files if file.kind == "wheel")

    @property
    def all_labels(self) -> dict[str, str]:
        """Every label that does not depend on what its parent came to."""
        created = datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {**self.labels, BUILD_ID_LABEL: self.build_id, "org.opencontainers.image.created": created}


@dataclass(frozen=True)
class SourceTree:
    """A source as a compile step has it: a locked file or tree, or that `folder` of it, is /src/NAME there.

    `variable` is an environment variable that is set to this path.
    """

    name: str
    source: LockedFile | LockedTree
    folder: str = ""
    variable: str = ""


@dataclass(frozen=True)
class CompileStep:
    """One wheel to compile: `name` is the component's id, its CUDA line and architecture: `vllm-0.29.0-cu130-sm120`.

    It is compiled in the image of `environment`, from `sources`, the first of which is patched and built in.
    `variables` are what the build script finds in its environment.
    """

    name: str
    component: Component
    environment: Step
    sources: tuple[SourceTree, ...]
    variables: Mapping[str, str]
    build_id: str = field(default="", compare=False)

    @property
    def files(self) -> tuple[LockedFile, ...]:
        """The sources that are files."""
        return tuple(item.source for item in self.sources if isinstance(item.source, LockedFile))

    @property
    def trees(self) -> tuple[LockedTree, ...]:
        """The sources that are git trees."""
        return tuple(item.source for item in self.sources if isinstance(item.source, LockedTree))
