"""The matrix and the images as read: no defaults are left to fill in, and every name that refers has been resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scripts.matrix.components import Component
from scripts.matrix.rules import AuditRule, Link, Omission, OtherCuda, Overlap
from scripts.matrix.scenarios import Scenario
from scripts.model import Cell, CudaLine, Target


@dataclass(frozen=True)
class Upstream:
    """A wheel or an archive that no package index carries: its file name, SHA-256, size in bytes, and address."""

    file: str
    sha256: str
    size: int
    url: str


@dataclass(frozen=True)
class Suite:
    """Upstream's own tests of a recipe's version, for scenarios that run some of them inside the image.

    `sdist` is a pin (`vllm==0.32.0`) of the source distribution that they are in, `folder` their package in it, and
    `requirements` are pins of what they need and the image does not have, without what those require.
    """

    sdist: str
    folder: str
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """How one image is obtained for one CUDA line: upstream's names for it, and what the lock resolves.

    `absent` are distributions left out although something requires them; `override` are requirements that count instead
    of what anything else requires of their distributions. `arguments` are what the image's program is started with
    before anything that its user says. `compile` are the ids of the components that are compiled for it, in order;
    `archives` are upstream's, which the image's Dockerfile unpacks. `suite` is no part of the image.
    """

    version: str
    revision: str
    requirements: tuple[str, ...]
    absent: tuple[str, ...] = ()
    override: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    upstream: tuple[Upstream, ...] = ()
    compile: tuple[str, ...] = ()
    archives: tuple[Upstream, ...] = ()
    suite: Suite | None = None


@dataclass(frozen=True)
class Image:
    """One folder of `images/`. `cells` is false for an image that others stand on and that is never tagged.

    `guard`: for a GPU, its entry point says first whether the GPU and the driver are those that it is for.
    """

    name: str
    folder: Path
    summary: str
    source: str
    licenses: str
    cells: bool
    parent: str
    version: str
    packages: tuple[str, ...]
    guard: bool = False
    recipes: Mapping[tuple[str, str], Recipe] = field(default_factory=dict)
    scenarios: tuple[Scenario, ...] = ()
    audit: tuple[AuditRule, ...] = ()
    omissions: tuple[Omission, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    other_cuda: tuple[OtherCuda, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Exclusion:
    """Cells that are not built, and why. An empty field matches everything."""

    reason: str
    image: str = ""
    cuda: str = ""
    target: str = ""
    recipe: str = ""

    def covers(self, cell: Cell) -> bool:
        return (
            self.image in ("", cell.image)
            and self.cuda in ("", cell.line)
            and self.target in ("", cell.target.id)
            and self.recipe in ("", cell.recipe)
        )


@dataclass(frozen=True)
class Platform:
    """What wheels and packages are chosen for."""

    python: str
    glibc: str
    suites: tuple[str, ...]


@dataclass(frozen=True)
class Tools:
    """What builds: uv's version, and Debian packages by suite."""

    uv: str
    packages: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Matrix:
    """Everything that `matrix.toml` and `images/*/image.toml` say.

    `slim`: wheels for a GPU lose the GPU code that it could never run.
    """

    root: Path
    recipes: tuple[str, ...]
    cuda: Mapping[str, CudaLine]
    targets: Mapping[str, Target]
    exclusions: tuple[Exclusion, ...]
    platform: Platform
    tools: Tools
    images: Mapping[str, Image]
    components: Mapping[str, Component] = field(default_factory=dict)
    slim: bool = True

    @cached_property
    def product(self) -> tuple[Cell, ...]:
        """Every cell that there could be, in order: target by target, then CUDA line, image, recipe."""
        return tuple(
            Cell(image.name, target, cuda, recipe)
            for target in self.targets.values()
            for cuda in (self.cuda.values() if target.has_gpu else [None])
            for image in self.images.values()
            if image.cells
            for recipe in self.recipes
        )

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that are to be built: the product, less the exclusions."""
        return tuple(cell for cell in self.product if not any(each.covers(cell) for each in self.exclusions))
