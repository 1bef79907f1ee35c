"""Resolving every slot anew. This is the part of `lock` that needs the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.console import step
from scripts.errors import ConfigError
from scripts.index import FoundWheel, resolve_wheels
from scripts.lock.debian import lock_stanza, open_archive
from scripts.lock.gates import find_problems, needed_files
from scripts.lock.lockfile import Lock, read_lock, write_lock
from scripts.lock.records import collect_records
from scripts.lock.slots import RecipeKey, Slot, image_slot, recipe_slot, tools_slot
from scripts.lock.wheels import lock_wheels
from scripts.matrix import Image, Matrix
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
                    raise ConfigError(f"no package {', '.join(missing)} in {suite}", "matrix.toml: [tools]")
                files += [lock_stanza(newest[name]) for name in sorted(names)]
                epoch = max(epoch, archive.epoch)
        found = resolve_wheels([f"uv=={matrix.tools.uv}"], (), matrix.platform, pip, with_dependencies=False)
        files += lock_wheels(found, ())
        return _store(matrix.root, slot, Lock(slot.config_id, max(epoch, _newest(found)), tuple(files)))


def update_image(matrix: Matrix, image: Image) -> bool:
    """Lock the Debian packages of an image without cells: what it asks for, and a system that dpkg can configure."""
    slot = image_slot(matrix, image)
    with step(image.name, "lock"), open_archive(matrix.platform.suites) as archive:
        files = [lock_stanza(stanza) for stanza in archive.solve(image.packages)]
        return _store(matrix.root, slot, Lock(slot.config_id, archive.epoch, tuple(files)))


def update_recipe(
    matrix: Matrix, image: Image, key: RecipeKey, pip: PipSettings, site: Site, upstream: Sequence[Path]
) -> bool:
    """Lock the wheels of a recipe; `upstream` are folders that hold the wheels of no index.

    Raises ConfigError for a set in which two distributions write one path, or that has two majors of CUDA in it.
    """
    slot, recipe = recipe_slot(matrix, image, key), image.recipes[key]
    with step(f"{image.name} {' '.join(key)}", "lock"):
        found = resolve_wheels(recipe.requirements, recipe.absent, matrix.platform, pip, upstream)
        files = tuple(lock_wheels(found, recipe.upstream))
        urls = {wheel.file: wheel.url for wheel in found}
        records = collect_records(needed_files(matrix, image, key, files), urls, site, matrix.platform)
        if problems := find_problems(matrix, image, key, files, records):
            raise ConfigError(problems)
        return _store(matrix.root, slot, Lock(slot.config_id, _newest(found), files))


def _newest(found: Sequence[FoundWheel]) -> int:
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
        write_lock(path, Lock(lock.config, known.epoch, lock.files))
        return True
    return False
