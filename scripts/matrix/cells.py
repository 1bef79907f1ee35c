"""What cells do not fit: names that two share, and what is written of cells that there are none of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from scripts.errors import Problem
from scripts.matrix.reader import find_repeated
from scripts.matrix.rules import Scope
from scripts.matrix.types import Exclusion, Image, Matrix
from scripts.model import Cell
from scripts.text import name_some


def explain_absence(matrix: Matrix, image: str, target: str) -> str:
    """Why an image has no cell for a target: the reasons of what excludes it, of those that name it where there are."""
    cells = [cell for cell in matrix.product if (cell.image, cell.target.id) == (image, target)]
    found = [exclusion for exclusion in matrix.exclusions if any(map(exclusion.covers, cells))]
    naming = [exclusion for exclusion in found if exclusion.image]
    return "; ".join(dict.fromkeys(exclusion.reason for exclusion in naming or found)) or "the matrix has no such cell"


def find_idle_exclusions(matrix: Matrix) -> list[Problem]:
    """Exclusions that match no cell: a misspelt one would otherwise exclude nothing in silence."""
    return [
        Problem(
            f"excludes no cell ({_describe(exclusion)})",
            f"matrix.toml: [exclude.{number}]",
            "correct its fields, or delete it",
        )
        for number, exclusion in enumerate(matrix.exclusions, 1)
        if not any(map(exclusion.covers, matrix.product))
    ]


def find_clashes(matrix: Matrix, cells: Sequence[Cell]) -> list[Problem]:
    """Names that two things share, be they cells, candidates or images: steps, evidence and tags are known by them."""
    named: defaultdict[str, list[Cell]] = defaultdict(list)
    candidates: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for cell in cells:
        named[cell.id].append(cell)
        candidates[cell.candidate].add((cell.image, cell.line, cell.target.compute, cell.recipe))
    images = {image.name for image in matrix.images.values() if not image.cells}

    def counts_twice(name: str) -> bool:
        found = len(named[name]) + len(candidates[name]) + (name in images)
        # Where a target adds nothing to its candidate's name, one name says both: `vllm-cpu`.
        same = found == 2 and bool(candidates[name]) and [cell.candidate for cell in named[name]] == [name]
        return found > 1 and not same

    return [
        Problem(f"two things would be called `{name}`", "matrix.toml", "rename a target, recipe or image")
        for name in sorted({*named, *candidates, *images})
        if counts_twice(name)
    ]


def find_mixed_recipes(matrix: Matrix) -> list[Problem]:
    """Targets of one compute capability that leave different recipes unsaid: their candidates have one name."""
    first: dict[str, str] = {}
    problems = []
    for target in matrix.targets.values():
        other = matrix.targets[first.setdefault(target.compute, target.id)]
        if target.recipe != other.recipe:
            cause = f"its recipe is `{target.recipe}`, and that of `{other.id}`, which shares its builds, is "
            place = f"matrix.toml: [targets.{target.id}.recipe]"
            problems.append(Problem(f"{cause}`{other.recipe}`", place, "give both the same"))
    return problems


def find_idle_recipes(matrix: Matrix, cells: Sequence[Cell]) -> list[Problem]:
    """Recipes that no cell uses, all of theirs being excluded: they would be locked for nothing."""
    used = {(cell.image, cell.recipe, cell.line) for cell in cells}
    return [
        Problem(f"no cell uses [recipe.{name}.{line}]", f"images/{image.name}/image.toml", "delete it, or an exclusion")
        for image in matrix.images.values()
        for name, line in image.recipes
        if (image.name, name, line) not in used
    ]


def find_wrong_components(matrix: Matrix) -> list[Problem]:
    """Recipes that compile what is not there, not for their line, or twice; and components that nobody compiles."""
    problems = []
    used: set[str] = set()
    for image in matrix.images.values():
        for (name, line), recipe in image.recipes.items():
            place = f"images/{image.name}/image.toml: [recipe.{name}.{line}.compile]"
            used |= set(recipe.compile)
            known = [matrix.components[each] for each in recipe.compile if each in matrix.components]
            for each in recipe.compile:
                if each not in matrix.components:
                    known_ids = name_some(matrix.components, "no component is written: write one")
                    problems.append(Problem(f"unknown component `{each}`", place, known_ids))
                elif line not in matrix.components[each].lines:
                    cause = f"{each} is not for CUDA {line}"
                    problems.append(Problem(cause, place, f'add [lines."{line}"] to {matrix.components[each].place}'))
            for each in find_repeated([component.distribution for component in known]):
                problems.append(Problem(f"`{each}` would be compiled twice", place, "name one version of it"))
    return problems + [
        Problem("no recipe compiles it", component.place, "name it in a recipe's `compile`, or delete it")
        for component in matrix.components.values()
        if component.id not in used
    ]


def find_idle_rules(matrix: Matrix, cells: Sequence[Cell]) -> list[Problem]:
    """Rules of images that apply to no cell: a misspelt scope would otherwise demand nothing in silence."""
    return [
        Problem(
            "applies to no cell of this image",
            f"images/{image.name}/image.toml: [{key}.{number}]",
            "correct its fields",
        )
        for image in matrix.images.values()
        for key, number, scope in _scopes(image)
        if not any(
            cell.image == image.name and scope.covers(cell) and (cell.target.has_gpu or key != "audit")
            for cell in cells
        )
    ]


def _scopes(image: Image) -> list[tuple[str, int, Scope]]:
    """Every rule of an image as its key, its number under that key, and its scope."""
    scopes = {
        "audit": [rule.scope for rule in image.audit],
        "omit": [rule.scope for rule in image.omissions],
        "overlap": [rule.scope for rule in image.overlaps],
        "other-cuda": [rule.scope for rule in image.other_cuda],
        "link": [rule.scope for rule in image.links],
    }
    return [(key, number, scope) for key, found in scopes.items() for number, scope in enumerate(found, 1)]


def _describe(exclusion: Exclusion) -> str:
    fields = {key: getattr(exclusion, key) for key in ("image", "cuda", "target", "recipe")}
    return ", ".join(f"{key} = {value}" for key, value in fields.items() if value)
