"""Paths that two distributions write with different bytes: which would be there is chance, unless a rule decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from scripts.errors import Problem
from scripts.matrix import Overlap

_SHOWN = 5
_DECIDE = "pin one of them, or add an [[overlap]] to image.toml that says which one is kept, and why"


@dataclass(frozen=True)
class Overlaps:
    """What came of the paths that several distributions write: for those that a rule decided the name of the
    distribution whose bytes are kept, and a problem for everything else."""

    kept: Mapping[str, str]
    problems: tuple[Problem, ...]


def find_overlaps(
    distributions: Mapping[str, Mapping[str, str]], rules: Sequence[Overlap], place: str = ""
) -> Overlaps:
    """Hold the paths of all distributions of one image against each other. Pure.

    `distributions` are hashes by path by name: paths as installed, relative to site-packages (`../../../bin/NAME` for a
    program), hashes in any form in which equal bytes are equal. The first rule that matches a path decides. A rule that
    decides nothing is a problem, and so is one that keeps what does not write the path. `place` is said of each.
    """
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(distributions):
        for path in distributions[name]:
            owners[path].append(name)
    kept: dict[str, str] = {}
    open_paths: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    problems: list[Problem] = []
    used: set[int] = set()
    for path, names in owners.items():
        if len({distributions[name][path] for name in names}) < 2:
            continue
        number = next((n for n, rule in enumerate(rules) if fnmatchcase(path, rule.path)), None)
        if number is None:
            open_paths[tuple(names)].append(path)
            continue
        used.add(number)
        kept[path] = rules[number].keep
        if rules[number].keep not in names:
            cause = f"keeps `{rules[number].keep}`, but `{path}` is written by {_join(names)}"
            problems.append(Problem(cause, _name(place, rules[number]), "name one of these"))
    for contenders, paths in open_paths.items():
        cause = f"{_join(contenders)} write {_count(paths)} with different bytes: {_list(paths)}"
        problems.append(Problem(cause, place, _DECIDE))
    problems += _find_folders(owners, place)
    problems += [
        Problem("decides nothing", _name(place, rule), "correct it, or delete it")
        for number, rule in enumerate(rules)
        if number not in used
    ]
    return Overlaps(kept, tuple(problems))


def _find_folders(owners: Mapping[str, Sequence[str]], place: str) -> list[Problem]:
    """Files of one distribution where another has a folder: no order of installing makes both right."""
    folders: dict[str, str] = {}
    for path, names in owners.items():
        parent = path.rpartition("/")[0]
        while parent and parent not in folders:
            folders[parent] = names[0]
            parent = parent.rpartition("/")[0]
    return [
        Problem(
            f"{owners[path][0]} writes `{path}` as a file, and {folders[path]} as a folder",
            place,
            "pin another version of one of them",
        )
        for path in owners
        if path in folders
    ]


def _name(place: str, rule: Overlap) -> str:
    return ": ".join(part for part in (place, f'[[overlap]] path = "{rule.path}"') if part)


def _join(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _count(paths: Sequence[str]) -> str:
    return "one path" if len(paths) == 1 else f"{len(paths)} paths"


def _list(paths: Sequence[str]) -> str:
    shown = ", ".join(sorted(paths)[:_SHOWN])
    return f"{shown} … and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else shown
