"""What a recipe would be with the newest upstream version that fits its CUDA line, the platform and its other pins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.errors import ConfigError
from scripts.index import FoundFile, read_requirements, resolve_wheels
from scripts.lock import read_slot
from scripts.lock.gates import needed_files
from scripts.lock.slots import RecipeKey, recipe_slot
from scripts.lock.wheels import lock_wheels
from scripts.matrix import Image, Matrix, Recipe
from scripts.model import LockedFile
from scripts.site import PipSettings, Site

# What the line decides, and not the engine: these pins are only moved by hand.
_OF_CUDA = re.compile(r"nvidia-|cuda-")
# By its runtime a solution tells for which CUDA it is; before CUDA 13 the name of the wheel ended otherwise.
_RUNTIMES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")


@dataclass(frozen=True)
class Change:
    """A distribution whose version changes (empty: not there), and who asks for that."""

    name: str
    before: str
    after: str
    why: str = ""


@dataclass(frozen=True)
class Proposal:
    """A recipe as it would be, what changes in its wheels, and how many of their bytes are new.

    `version` is the newest that fits, the old one where there is none that is newer; `why` says of that, why.
    """

    image: str
    key: RecipeKey
    before: str
    version: str
    requirements: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    moved: int = 0
    total: int = 0
    why: str = ""

    @property
    def is_newer(self) -> bool:
        """Whether there is something to take."""
        return self.version != self.before


def propose(matrix: Matrix, image: Image, key: RecipeKey, pip: PipSettings, site: Site) -> Proposal:
    """Ask the index for the newest version of a recipe's main distribution that everything else lets it have.

    Pins of CUDA's own distributions stay; all others may move up, none moves down. Raises Undecided where the index
    does not answer.
    """
    recipe = image.recipes[key]
    if key[0] == "source":
        return _keep(image, key, "compiled from source: CONTRIBUTING.md says how it is moved")
    if recipe.upstream:
        return _keep(image, key, f"{recipe.upstream[0].file} is named by its hash, and is moved by hand")
    main = find_main(recipe, f"images/{image.name}/image.toml")
    try:
        found = _solve(matrix, recipe, key[1], pip, site)
    except ConfigError as error:
        return _keep(image, key, f"nothing fits: {error.problems[0].cause.splitlines()[0]}")
    versions = {file.name: file.version for file in found}
    if Version(versions[main]) <= Version(recipe.version):
        return _keep(image, key, f"the newest that fits CUDA {key[1]}")
    pinned = tuple(pin(each, versions) for each in recipe.requirements)
    [wheel] = [file for file in found if file.name == main]
    old = read_slot(matrix.root, recipe_slot(matrix, image, key)).files
    files = needed_files(matrix, image, key, lock_wheels(found, ()))
    known = {file.sha256 for file in old}
    return Proposal(
        image.name,
        key,
        recipe.version,
        versions[main],
        pinned,
        tuple(list_changes(old, versions, _reasons(wheel, recipe))),
        sum(file.size for file in files if file.sha256 not in known),
        sum(file.size for file in files),
    )


def _solve(matrix: Matrix, recipe: Recipe, line: str, pip: PipSettings, site: Site) -> list[FoundFile]:
    """The newest wheels of a CUDA line that a recipe lets it have. Raises ConfigError where there are none.

    Builds of a site's own (`2.13.0+cpu`) count as newer than upstream's, and upstream's is what a recipe pins.
    """
    constraints = [f"{name}=={line}.*" for name in _RUNTIMES]
    pinned = {name_of(each) for each in recipe.requirements}
    while True:
        found = resolve_wheels(
            [relax(each) for each in recipe.requirements],
            recipe.absent,
            matrix.platform,
            pip,
            site.wheels,
            override=recipe.override,
            constraints=constraints,
        )
        others = [
            f"{each.name}!={each.version}" for each in found if each.name in pinned and Version(each.version).local
        ]
        if not others:
            return found
        constraints += others


def find_main(recipe: Recipe, place: str) -> str:
    """The distribution whose version is the recipe's. Raises ConfigError where no requirement pins it."""
    for text in recipe.requirements:
        if recipe.version in exact_versions(text):
            return name_of(text)
    raise ConfigError(f"no requirement is `==` the recipe's version, {recipe.version}", place, "pin what it is of")


def relax(text: str) -> str:
    """A requirement without its exact version: that one, or any later. One of CUDA's distributions stays as it is."""
    if _OF_CUDA.match(name_of(text)):
        return text
    for version in exact_versions(text):
        text = text.replace(f"=={version}", f">={version}")
    return text


def pin(text: str, versions: Mapping[str, str]) -> str:
    """A requirement as it was written, with the exact version that was chosen in place of the old one.

    What else it says of the old version (`!=2.13.0+cpu`), it then says of the new one.
    """
    if _OF_CUDA.match(name := name_of(text)):
        return text
    for version in exact_versions(text):
        text = text.replace(version, versions[name])
    return text


def exact_versions(text: str) -> list[str]:
    """The versions that a requirement pins: `==1.2`, and not `==1.*`."""
    return [each.version for each in Requirement(text).specifier if each.operator == "==" and "*" not in each.version]


def name_of(text: str) -> str:
    """The distribution that a requirement is of."""
    return str(canonicalize_name(Requirement(text).name))


def list_changes(old: Sequence[LockedFile], versions: Mapping[str, str], reasons: Mapping[str, str]) -> list[Change]:
    """What becomes another version, comes or goes; those first that somebody asks for."""
    before = {file.name: file.version for file in old if file.kind == "wheel"}
    changes = [
        Change(name, before.get(name, ""), versions.get(name, ""), reasons.get(name, ""))
        for name in sorted({*before, *versions})
        if before.get(name) != versions.get(name)
    ]
    return sorted(changes, key=lambda change: not change.why)


def _reasons(wheel: FoundFile, recipe: Recipe) -> dict[str, str]:
    """Why distributions have the versions that they have, as far as the recipe and its main wheel say it."""
    asked = {name_of(text): "the recipe" for text in recipe.requirements if relax(text) != text}
    for text in read_requirements(wheel):
        requirement = Requirement(text)
        if exact_versions(text) and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            asked.setdefault(name_of(text), f"{wheel.name} {wheel.version} asks for {requirement.specifier}")
    return asked


def _keep(image: Image, key: RecipeKey, why: str) -> Proposal:
    version = image.recipes[key].version
    return Proposal(image.name, key, version, version, why=why)
