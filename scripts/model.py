"""The nouns that stages hand to one another: frozen, and free of behaviour beyond naming themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Compression = Literal["zstd", "gzip"]  # of an image's layers


@dataclass(frozen=True)
class CudaLine:
    """A CUDA release line, such as 12.8: the toolkit built with, and the Linux driver that it needs at least."""

    id: str
    toolkit: str
    driver: str

    @property
    def slug(self) -> str:
        """The line as wheels and tags spell it: `cu128`."""
        return "cu" + self.id.replace(".", "")


@dataclass(frozen=True)
class Target:
    """A GPU model that images are built for, or `cpu`; `compute` is empty where there is no CUDA, memory is in GiB."""

    id: str
    name: str
    recipe: str
    compute: str = ""
    driver: str = ""
    memory: int = 0

    @property
    def has_gpu(self) -> bool:
        return bool(self.compute)

    @property
    def architecture(self) -> str:
        """The compute capability as compilers spell it, `sm120`; the target's id where it has none."""
        return f"sm{self.compute.replace('.', '')}" if self.compute else self.id


@dataclass(frozen=True)
class Cell:
    """One image for one CUDA line and target, obtained by one recipe: the unit that is judged and tagged.

    What is built is its candidate: cells whose targets have one compute capability share it, byte for byte.
    """

    image: str
    target: Target
    cuda: CudaLine | None
    recipe: str

    @property
    def variant(self) -> str:
        """The id without its image: `cu128-5090`, `cu128-5090-wheel`, `cpu`."""
        return self._compose(self.target.id)

    @property
    def id(self) -> str:
        """Selector, log heading, name of the evidence and table row; composed here, never parsed back."""
        return f"{self.image}-{self.variant}"

    @property
    def candidate(self) -> str:
        """The id of what is built: `vllm-cu128-sm120`, `vllm-cu128-sm120-wheel`, `vllm-cpu`."""
        return f"{self.image}-{self._compose(self.target.architecture)}"

    @property
    def line(self) -> str:
        """The CUDA line's id, or `cpu`: the key of the cell's inputs under its recipe."""
        return self.cuda.id if self.cuda else "cpu"

    def _compose(self, what_for: str) -> str:
        parts = [self.cuda.slug] if self.cuda else []
        parts.append(what_for)
        if self.recipe != self.target.recipe:
            parts.append(self.recipe)
        return "-".join(parts)


@dataclass(frozen=True)
class BuildOptions:
    """What the site and the command line decide about a build: how layers are compressed, and whether to slim."""

    compression: Compression = "zstd"
    slim: bool = True


@dataclass(frozen=True)
class LockedFile:
    """One input, named by its bytes. `url` is set for upstream sources alone: an index is the site's business.

    `kind` is `wheel`, `deb`, `sdist` or `archive`; `size` is in bytes, 0 where nobody has said.

    `path` is the place under a Debian archive's root (`pool/main/…`) and empty for anything else.
    """

    kind: str
    name: str
    version: str
    file: str
    sha256: str
    size: int
    url: str = ""
    path: str = ""


@dataclass(frozen=True)
class LockedTree:
    """A source tree in git, named by its commit, which hashes all of it; `tag` is what upstream calls it.

    `submodules` are the folders of those that are laid into it, with all below them; None: all.
    """

    name: str
    repository: str
    commit: str
    tag: str = ""
    submodules: tuple[str, ...] | None = None


class Outcome(StrEnum):
    """How one check ended. ERROR: the check itself could not run, so it says nothing about the image."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True)
class Result:
    """One check's outcome, a sentence for people, and the numbers behind it (units are in their names)."""

    check: str
    outcome: Outcome
    detail: str = ""
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED


class Coverage(StrEnum):
    """How much of a library's GPU code one GPU can run, best first. PARTLY: some of it, and nothing of the rest."""

    NATIVE = "native"
    JIT = "jit"
    PARTLY = "partly missing"
    MISSING = "missing"
    UNREADABLE = "unreadable"

    def is_worse_than(self, other: Coverage) -> bool:
        order = list(Coverage)
        return order.index(self) > order.index(other)


class Verdict(StrEnum):
    """What a candidate's results amount to. Only an accepted one may be tagged."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
