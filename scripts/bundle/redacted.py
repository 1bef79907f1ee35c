"""Evidence without what names a person, a machine, a place or a device: by the means of `doctor --report`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from scripts.audit.evidence import AUDIT
from scripts.matrix import Scenario
from scripts.model import Cell, Coverage, Result
from scripts.redact import Private, redact
from scripts.smoke.smoke import Evidence
from scripts.smoke.trial import CONTAINER, PROTOCOL
from scripts.smoke.watch import WATCHED

MOST_LOG = 1 << 16  # characters of a log that are kept: its beginning, and three times as much of its end
LONGEST_LINE = 4000  # characters; what stands behind is left out, from the last space on
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Behind the `\n` of a quoted text a word begins, and it is to be seen as one.
_ESCAPE = re.compile(r"\\[abfnrtv](?=\w|/)")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Redactor:
    """What is private, and the words of this project that stay, though they may be somebody's name as well."""

    private: Private
    plain: frozenset[str] = frozenset()

    def text(self, text: str) -> str:
        """A text as anybody may read it, line by line."""
        return text if text in self.plain else "\n".join(map(self._line, text.split("\n")))

    def value(self, value: Any) -> Any:
        """A JSON value with every text in it so, keys as well."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self._table(value)
        return [self.value(each) for each in value] if isinstance(value, list | tuple) else value

    def log(self, text: str) -> str:
        """A log so, and of a long one the beginning and the end."""
        lines = text.split("\n")
        if len(text) > MOST_LOG:
            first = _count_lines(lines, MOST_LOG // 4)
            last = _count_lines(lines[first:][::-1], 3 * MOST_LOG // 4)
            left_out = len(lines) - first - last
            lines = [*lines[:first], f"… {left_out} lines were left out …", *lines[len(lines) - last :]]
        return "\n".join(map(self._line, lines))

    def evidence(self, evidence: Evidence) -> Evidence:
        """A scenario's evidence so. What a check is called, when it ended and what it asked stay."""
        results = tuple(
            Result(self.text(each.check), each.outcome, self.text(each.detail), self.value(each.measured))
            for each in evidence.results
        )
        host = {key: text if _VERSION.fullmatch(text) else self.text(text) for key, text in evidence.host.items()}
        return replace(evidence, results=results, host=host)

    def audit(self, report: dict[str, Any]) -> dict[str, Any]:
        """The report of an audit so. What it asked, and of which image, stay."""
        rows = {name: report[name] for name in ("libraries", "problems")}
        return report | {name: [{k: self.value(v) for k, v in row.items()} for row in rows[name]] for name in rows}

    def _table(self, table: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in table.items():
            name = self.text(str(key))
            while name in found:  # two that differ in what is private alone are still two
                name += "'"
            found[name] = self.value(value)
        return found

    def _line(self, line: str) -> str:
        plain = _ESCAPE.sub(r"\g<0> ", _COLOUR.sub("", line))
        plain = "".join(character if character.isprintable() or character == "\t" else " " for character in plain)
        if len(plain) > LONGEST_LINE:  # not within a word, half of which could be a name
            plain = plain[:LONGEST_LINE].rpartition(" ")[0] + " …"
        return redact(plain, self.private)


def make_redactor(private: Private, cell: Cell, scenarios: Sequence[Scenario]) -> Redactor:
    """A redactor that knows the words that a cell's evidence is made of."""
    checks = {check for each in scenarios for check in each.checks}
    names = {each.name for each in scenarios} | {cell.target.name, cell.target.id, cell.target.compute}
    return Redactor(private, frozenset({*checks, *names, *Coverage, AUDIT, CONTAINER, WATCHED, PROTOCOL}))


def _count_lines(lines: Sequence[str], most: int) -> int:
    """How many of the first lines are `most` characters together."""
    total = 0
    for number, line in enumerate(lines):
        total += len(line) + 1
        if total > most:
            return number
    return len(lines)
