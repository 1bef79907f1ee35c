"""A table of TOML read key by key: each mistake is noted with its place, and reading goes on to find the others."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from scripts.errors import ConfigError, Problem
from scripts.files import format_size

MEND = "correct it: CONTRIBUTING.md says what stands there"
LARGEST = 4 << 20  # bytes of a TOML file; the largest lock has 0.1 MB
DEEPEST = 8  # keys that are joined by dots; ours are 4
# The parser keeps each beginning of a joined key: 40 kB of dots would take 1.6 GB.
_PART = rb"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DEEP = re.compile(rb"(?<![A-Za-z0-9_.-])%b(?:[ \t]*\.[ \t]*%b){%d}" % (_PART, _PART, DEEPEST))


def parse_toml(path: Path, place: str) -> dict[str, Any]:
    """A TOML file as plain values. Raises ConfigError where it is missing, too large or deep, not UTF-8 or not TOML."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ConfigError("is no ordinary file", place, "put a file there")
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ConfigError(f"it has more than {format_size(LARGEST)}", place, "mend the file")
        if found := _DEEP.search(data):
            line = data.count(b"\n", 0, found.start()) + 1
            raise ConfigError(f"more than {DEEPEST} keys are joined by dots in line {line}", place, "mend the file")
        return tomllib.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError("the file is missing", place, "run this in a checkout of the project") from None
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", place, "mend that") from error
    except (ValueError, RecursionError) as error:  # besides bad TOML: numbers too long, tables too deep
        raise ConfigError(str(error), place, "mend the file") from error


def find_repeated(names: Sequence[str]) -> list[str]:
    """The names that stand more than once, each once, in order."""
    if len(set(names)) == len(names):  # as nearly all lists do, of which there are many
        return []
    return sorted(name for name, times in Counter(names).items() if times > 1)


class Table:
    """One table being read. A key that is wrong or missing is noted in `problems` and reads as its empty value.

    `mend` is the next step where nothing better is known: of a generated file, to generate it again.
    """

    def __init__(
        self, values: object, place: str, problems: list[Problem], path: tuple[str, ...] = (), mend: str = MEND
    ) -> None:
        self.place = place
        self._mend = mend
        self.problems = problems
        self._path = path
        self._read: set[str] = set()
        self._values: Mapping[str, Any] = {}
        if isinstance(values, dict):
            self._values = values
        else:
            self.note(f"expected a table, found {_kind(values)}")

    def note(self, cause: str, key: str = "", next_step: str = "") -> None:
        """Record a problem at one of this table's keys."""
        path = ".".join([*map(_spell, self._path), *filter(None, [key])])
        self.problems.append(Problem(cause, f"{self.place}: [{path}]" if path else self.place, next_step or self._mend))

    def string(self, key: str, default: str | None = None) -> str:
        value = self._take(key, str, default)
        if value == "" and key in self._values and default != "":
            self.note("must not be empty", key, "" if default is None else "write it, or delete the key")
        return str(value or "")

    def number(self, key: str, default: int | None = None) -> int:
        value = self._take(key, int, default)
        if value is not None and value < 0:
            self.note("must not be negative", key, "write 0 or more")
        elif value is not None and value >= 1 << 63:  # what no format could hold, and no clock count
            self.note("is larger than any number that could be meant", key, "write a smaller one")
            return 0
        return int(value or 0)

    def amount(self, key: str) -> float:
        """A number that is more than 0, whole or not."""
        value = self._take(key, (int, float), None)
        if value is not None and not 0 < value < 1 << 63:
            self.note("must be more than 0", key, "write a number such as 1.5")
            return 0.0
        return float(value or 0)

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._take(key, bool, default))

    def strings(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = self._take(key, list, default)
        if value is None or value is default or not isinstance(self._values.get(key), list):
            return default or ()
        if not value or not all(isinstance(item, str) and item for item in value):
            self.note("expected a list of strings, with at least one", key, 'write it as ["…"]')
            return ()
        for item in find_repeated(value):
            self.note(f"`{item}` stands twice", key, "leave one of them")
        return tuple(value)

    def requirements(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of requirements as PEP 508 spells them."""
        found = self.strings(key, default)
        for item in found:
            try:
                Requirement(item)
            except InvalidRequirement as error:
                self.note(f"`{item}`: {error}".splitlines()[0], key, "write it as `name>=1.0,<2`")
        return found

    def some_strings(self, key: str) -> tuple[str, ...]:
        """A list of strings that may be empty, where leaving the key out would mean something else."""
        return () if self._values.get(key) == [] and self._take(key, list, None) == [] else self.strings(key)

    def table(self, key: str) -> Table:
        return Table(self._take(key, dict, {}), self.place, self.problems, (*self._path, key), self._mend)

    def tables(self, key: str) -> list[Table]:
        """An array of tables, `[[key]]`; missing reads as none."""
        return [
            Table(item, self.place, self.problems, (*self._path, key, str(number)), self._mend)
            for number, item in enumerate(self._take(key, list, []), 1)
        ]

    def names(self) -> list[str]:
        """This table's own keys, each of which the caller is about to read."""
        return list(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def finish(self) -> None:
        """Note every key that nobody read, with the nearest one that would have been."""
        for key in self._values:
            if key in self._read:
                continue
            near = difflib.get_close_matches(key, sorted(self._read), n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(sorted(self._read)) or 'nothing'}"
            self.note(f"unknown key `{key}`", next_step=hint)

    def _take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        self._read.add(key)
        if key not in self._values:
            if default is None:
                self.note(f"missing key `{key}`", next_step="" if self._mend != MEND else f"write `{key} = …` there")
            return default
        value = self._values[key]
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            self.note(f"expected {_NAMES[kind]}, found {_kind(value)}", key)
            return [] if kind is list else {} if kind is dict else default
        return value


def read_tables(root: Path, files: Sequence[Path], problems: list[Problem]) -> Iterator[tuple[Path, Table]]:
    """Each file of a checkout with its table; one that cannot be read is noted in `problems` and left out."""
    for path in files:
        place = path.relative_to(root).as_posix()
        try:
            values = parse_toml(path, place)
        except ConfigError as error:
            problems += error.problems
            continue
        yield path, Table(values, place, problems)


_NAMES: dict[type | tuple[type, ...], str] = {
    str: "a string",
    int: "a whole number",
    (int, float): "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _spell(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'


def _kind(value: object) -> str:
    return _NAMES.get(type(value), type(value).__name__)
