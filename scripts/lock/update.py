"""Resolving every slot anew. This is the part of `lock` that needs the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.version import Version

from scripts.console import step
from scripts.errors import ConfigError
from scripts.index import FoundFile, ask_size, find_sdists, resolve_wheels
from scripts.lock.debian import lock_stanza, open_archive
from scripts.lock.gates import find_problems, needed_files
from scripts.lock.lockfile import Lock, read_lock, write_lock
from scripts.lock.records import collect_records
from scripts.lock.slots import (
    RecipeKey,
    Slot,
    component_slot,
    find_toolkit,
    image_slot,
    list_parents,
    read_slot,
    recipe_slot,
    suite_slot,
    tools_slot,
)
from scripts.lock.sources import lock_sources
from scripts.lock.wheels import lock_archive, lock_wheels
from scripts.matrix import Component, Image, Matrix
from scripts.model import LockedFile
from scripts.site import PipSettings, Site


def update_tools(matrix: Matrix, pip: PipSettings) -> bool:
    """Lock the embedded engine's packages (themselves alone: they are unpacked, not installed) and uv."""
    slot = tools_slot(matrix)
    with step("matrix", "lock"):
        files: list[LockedFile] = []
        epoch = 0
        for suite, names in matrix.tools.packages.items():
            with open_archive([suite]) as archive:
                newest = archive.find_newest()
                if missing := sorted(set(names) - set(newest)):
                    cause = f"no package {', '.join(missing)} in {suite}"
                    raise ConfigError(cause, "matrix.toml: [tools]", "correct the name, or add a suite")
                files += [lock_stanza(newest[name]) for name in sorted(names)]
                epoch = max(epoch, archive.epoch)
        found = resolve_wheels([f"uv=={matrix.tools.uv}"], (), matrix.platform, pip, with_dependencies=False)
        files += lock_wheels(found, ())
        return _store(matrix.root, slot, Lock(slot.config_id, max(epoch, _newest(found)), tuple(files)))


def update_image(matrix: Matrix, image: Image) -> bool:
    """Lock the Debian packages of an image: what it asks for, and a system that dpkg can configure.

    What the images that it stands on have is theirs; it is asked for again, so that all of it fits together.
    """
    slot = image_slot(matrix, image)
    with step(image.name, "lock"), open_archive(matrix.platform.suites) as archive:
        below = [matrix.images[name] for name in list_parents(matrix, image)]
        wanted = {package for each in (image, *below) for package in each.packages}
        there = {file.name for each in below for file in read_slot(matrix.root, image_slot(matrix, each)).files}
        files = [lock_stanza(stanza) for stanza in archive.solve(sorted(wanted)) if stanza["Package"] not in there]
        return _store(matrix.root, slot, Lock(slot.config_id, archive.epoch, tuple(files)))


def update_recipe(
    matrix: Matrix, image: Image, key: RecipeKey, pip: PipSettings, site: Site, upstream: Sequence[Path]
) -> bool:
    """Lock the wheels of a recipe; `upstream` are folders that hold the wheels of no index.

    Raises ConfigError for a set in which two distributions write one path, or that has two majors of CUDA in it.
    """
    slot, recipe = recipe_slot(matrix, image, key), image.recipes[key]
    with step(f"{image.name} {' '.join(key)}", "lock"):
        found = resolve_wheels(
            recipe.requirements, recipe.absent, matrix.platform, pip, upstream, override=recipe.override
        )
        compiled = {matrix.components[each].distribution: matrix.components[each] for each in recipe.compile}
        found = drop_compiled(found, compiled, slot.place)
        files = (*lock_wheels(found, recipe.upstream), *map(lock_archive, recipe.archives))
        urls = {wheel.file: wheel.url for wheel in found}
        records = collect_records(needed_files(matrix, image, key, files), urls, site, matrix.platform)
        if problems := find_problems(matrix, image, key, files, records):
            raise ConfigError(problems)
        return _store(matrix.root, slot, Lock(slot.config_id, _newest(found), files))


def update_suite(matrix: Matrix, image: Image, key: RecipeKey, pip: PipSettings, site: Site) -> bool:
    """Lock upstream's tests of a recipe's version, and what they need beside the image."""
    slot, suite = suite_slot(matrix, image, key), image.recipes[key].suite
    assert suite
    with step(f"{image.name} {' '.join(key)} suite", "lock"):
        [sdist] = find_sdists([suite.sdist], matrix.platform, pip, site.wheels)
        wheels = resolve_wheels(suite.requirements, (), matrix.platform, pip, site.wheels, with_dependencies=False)
        locked = LockedFile("sdist", sdist.name, sdist.version, sdist.file, sdist.sha256, ask_size(sdist))
        files = (locked, *lock_wheels(wheels, ()))
        return _store(matrix.root, slot, Lock(slot.config_id, _newest([sdist, *wheels]), files))


def update_component(
    matrix: Matrix, component: Component, line: str, earlier: Sequence[Component], pip: PipSettings, site: Site
) -> bool:
    """Lock a component's sources for a CUDA line, and the wheels that it is compiled with.

    Raises ConfigError for a source that is not what upstream pins, and Undecided for one whose pin cannot be read here.
    """
    slot = component_slot(matrix, component, line, earlier)
    with step(f"{component.id} {line}", "lock"):
        toolkit = find_toolkit(matrix, line)
        requirements = [*toolkit.requirements, *component.requirements_for(line)]
        absent = [*toolkit.absent, *component.absent_for(line)]
        compiled = {each.distribution: each for each in earlier}
        found = resolve_wheels(requirements, absent, matrix.platform, pip, site.wheels, override=toolkit.override)
        wheels = lock_wheels(drop_compiled(found, compiled, slot.place), ())
        sources = lock_sources(component, line, pip, site, matrix.platform)
        epoch = max(_newest(found), sources.epoch)
        return _store(matrix.root, slot, Lock(slot.config_id, epoch, (*wheels, *sources.files), sources.trees))


def drop_compiled(found: Sequence[FoundFile], compiled: Mapping[str, Component], place: str) -> list[FoundFile]:
    """The wheels less those that are compiled here. Raises ConfigError where another version of one is asked for."""
    for wheel in found:
        component = compiled.get(wheel.name)
        if component and Version(wheel.version).public != Version(component.version).public:
            cause = f"{wheel.name} {wheel.version} is asked for, and {component.id} is compiled"
            raise ConfigError(cause, place, "compile that version, or pin it in the requirements")
    return [wheel for wheel in found if wheel.name not in compiled]


def _newest(found: Sequence[FoundFile]) -> int:
    return max(wheel.uploaded for wheel in found)


def _store(root: Path, slot: Slot, lock: Lock) -> bool:
    """Write a lock unless it names the same bytes as the one there: then only its configuration may have moved."""
    path = root / slot.place
    try:
        known = read_lock(path, slot.place)
    except ConfigError:
        write_lock(path, lock)
        return True
    if not known.same_bytes(lock):
        write_lock(path, lock)
        return True
    if known.config != lock.config:
        write_lock(path, replace(lock, epoch=known.epoch))
        return True
    return False
