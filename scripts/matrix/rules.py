"""What an image's own file says of single libraries, distributions and paths; each rule is about some of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from scripts.model import Cell, Coverage


@dataclass(frozen=True)
class Scope:
    """The cells that a rule of an image is about; an empty field matches everything.

    `cuda` is a CUDA line's id or `cpu`, `compute` a compute capability such as 12.0. A target has no place here: an
    image is for a compute capability, and every target that has it is served by the same bytes.
    """

    cuda: str = ""
    compute: str = ""
    recipe: str = ""

    def covers(self, cell: Cell) -> bool:
        return (
            self.cuda in ("", cell.line)
            and self.compute in ("", cell.target.compute)
            and self.recipe in ("", cell.recipe)
        )


EVERYWHERE = Scope()


@dataclass(frozen=True)
class AuditRule:
    """Libraries by patterns over the end of their paths, the least coverage accepted of them, and why."""

    accept: Coverage
    libraries: tuple[str, ...]
    reason: str = ""
    scope: Scope = EVERYWHERE


@dataclass(frozen=True)
class Omission:
    """Distributions that are locked and yet left out of an image, and why."""

    distributions: tuple[str, ...]
    reason: str
    scope: Scope = EVERYWHERE


@dataclass(frozen=True)
class Overlap:
    """Paths that several distributions write with different bytes, the one whose bytes stay, and why.

    `path` is a shell pattern over paths relative to site-packages, as an installed RECORD spells them: a program is
    `../../../bin/NAME`. `keep` is a distribution's normalised name.
    """

    path: str
    keep: str
    reason: str
    scope: Scope = EVERYWHERE


@dataclass(frozen=True)
class OtherCuda:
    """Distributions of another major release of CUDA than their image's, and why they may be in it."""

    distributions: tuple[str, ...]
    reason: str
    scope: Scope = EVERYWHERE


@dataclass(frozen=True)
class Link:
    """A symbolic link that is made in the image after all wheels, and why.

    `path` is absolute, under /opt/venv or /usr/local. `target` is written into the link as it stands, so it is absolute
    (under the same roots) or relative to the link's own folder, and must be there: a link that leads nowhere is
    refused. So is one whose `path` is there already.

    With `{name}` in both file names it is a pattern, and stands for a link for each file or folder that `target`
    matches. There `{name}` is the shortest text that fits, `*` any other; in an absolute target `*` may also be a
    folder's whole name. Where a link's path is there already none is made, and of several targets of one link the first
    by name is taken; a pattern that makes no link at all is refused. Only what wheels have counts as there: a link can
    take the place of what the Dockerfile made. So `path = "/opt/venv/lib/{name}.so"` with `target = "{name}.so.*"`
    gives `libcudart.so → libcudart.so.13`.
    """

    path: str
    target: str
    reason: str
    scope: Scope = EVERYWHERE

    @property
    def is_pattern(self) -> bool:
        return "{name}" in self.path


Rule = TypeVar("Rule", AuditRule, Omission, Overlap, OtherCuda, Link)


def select_rules(rules: Sequence[Rule], cell: Cell) -> list[Rule]:
    """Those of an image's rules that apply to one of its cells, in their order."""
    return [rule for rule in rules if rule.scope.covers(cell)]
