"""What a set of wheels must be before it is locked: of one major release of CUDA, and each path of one distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.errors import ConfigError, HallmarkError, Problem
from scripts.fetch import Cache
from scripts.lock.majors import find_other_majors
from scripts.lock.overlaps import find_overlaps
from scripts.lock.records import Record, find_record, list_installed
from scripts.lock.slots import RecipeKey, read_slot, recipe_slot
from scripts.matrix import Image, Matrix, select_rules
from scripts.model import Cell, LockedFile


@dataclass(frozen=True)
class Checked:
    """How many sets of wheels there are, and of how many of them every RECORD was at hand."""

    sets: int
    compared: int


def select_files(image: Image, cell: Cell, files: Sequence[LockedFile]) -> tuple[LockedFile, ...]:
    """The locked files less what image.toml omits from this cell. Raises ConfigError for a name that is not there."""
    omitted = {name for rule in select_rules(image.omissions, cell) for name in rule.distributions}
    if unknown := omitted - {file.name for file in files}:
        place = f"{_place(image)}: [[omit]]"
        raise ConfigError(f"{cell.candidate} has no distribution {', '.join(sorted(unknown))}", place, "correct it")
    return tuple(file for file in files if file.name not in omitted)


def find_problems(
    matrix: Matrix, image: Image, key: RecipeKey, files: Sequence[LockedFile], records: Mapping[str, Record] | None
) -> list[Problem]:
    """What is wrong with the sets that cells of one recipe have of these files, each problem once.

    Without `records` their paths are not compared. `records` may lack what every cell leaves out.
    """
    problems: dict[Problem, None] = {}
    for cell in list_sets(matrix, image, key):
        try:
            chosen = select_files(image, cell, files)
        except HallmarkError as error:
            problems |= dict.fromkeys(error.problems)
            continue
        problems |= dict.fromkeys(
            find_other_majors(cell.line, chosen, select_rules(image.other_cuda, cell), _place(image))
        )
        if records is not None:
            python = matrix.platform.python
            wheels = [file for file in chosen if file.kind == "wheel"]
            paths = {file.name: list_installed(records[file.name], file.name, python) for file in wheels}
            rules = select_rules(image.overlaps, cell)
            problems |= dict.fromkeys(find_overlaps(paths, rules, _place(image)).problems)
    return list(problems)


def check_recipes(matrix: Matrix, cache: Cache) -> Checked:
    """Repeat what needs no network of the gates on the locks as they are. Raises ConfigError with every problem."""
    problems: list[Problem] = []
    sets = compared = 0
    for image in matrix.images.values():
        for key in image.recipes:
            files = read_slot(matrix.root, recipe_slot(matrix, image, key)).files
            records = _find_records(matrix, image, key, files, cache)
            sets, compared = sets + 1, compared + (records is not None)
            problems += find_problems(matrix, image, key, files, records)
    if problems:
        raise ConfigError(problems)
    return Checked(sets, compared)


def list_sets(matrix: Matrix, image: Image, key: RecipeKey) -> list[Cell]:
    """A cell of each candidate that is made by a recipe."""
    cells = [cell for cell in matrix.cells if cell.image == image.name and (cell.recipe, cell.line) == key]
    return list({cell.candidate: cell for cell in cells}.values())


def needed_files(matrix: Matrix, image: Image, key: RecipeKey, files: Sequence[LockedFile]) -> list[LockedFile]:
    """The wheels that go into some image: what every cell leaves out need not be looked into."""
    files = [file for file in files if file.kind == "wheel"]
    cells = list_sets(matrix, image, key)
    kept = [{name for rule in select_rules(image.omissions, cell) for name in rule.distributions} for cell in cells]
    return [file for file in files if not all(file.name in omitted for omitted in kept)]


def _find_records(
    matrix: Matrix, image: Image, key: RecipeKey, files: Sequence[LockedFile], cache: Cache
) -> dict[str, Record] | None:
    found: dict[str, Record] = {}
    for file in needed_files(matrix, image, key, files):
        record = find_record(file, cache)
        if record is None:
            return None
        found[file.name] = record
    return found


def _place(image: Image) -> str:
    return f"images/{image.name}/image.toml"
