"""A comparison as data: engines, what was measured of each, and why the rest is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.compare.figures import Figure, Missing
from scripts.compare.rows import Row, Section


@dataclass(frozen=True)
class Column:
    """One engine's column: the cell, its version and digest, what the gate says of it, and each row's figure or reason.

    `found` goes by the name of a row.
    """

    cell: str
    title: str
    digest: str
    verdict: str
    found: Mapping[str, Figure | Missing]

    def find(self, row: Row) -> Figure | Missing:
        """The figure of a row, or why there is none."""
        return self.found[row.name]


@dataclass(frozen=True)
class Comparison:
    """All that a report says of a `target`, whose name is `place`. `absent` are those without a column, and why.

    `limit_gib` is what engines may hold of a GPU's memory, 0 where there is no GPU. `host` has what each part's machine
    said of itself; `options` are those of the command that chose what is compared.
    """

    target: str
    place: str
    limit_gib: int
    machine: str
    host: Mapping[str, str]
    columns: tuple[Column, ...]
    absent: Mapping[str, str]
    sections: tuple[Section, ...]
    options: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[tuple[Section, Row, Column, Figure | Missing]]:
        """Every place of the report, in its order."""
        return [
            (section, row, column, column.find(row))
            for section in self.sections
            for row in section.rows
            for column in self.columns
        ]
