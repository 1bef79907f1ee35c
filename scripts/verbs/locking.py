"""The verb that writes the locks, and tells whether they fit."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from scripts.console import note
from scripts.errors import ConfigError, ExitCode
from scripts.fetch import Cache, fetch_files
from scripts.fetch.cache import lay_out_named
from scripts.lock import all_slots, check_slots, read_slot, suite_slot, tools_slot
from scripts.lock.gates import check_recipes
from scripts.lock.slots import (
    RecipeKey,
    Slot,
    component_slot,
    has_packages,
    image_slot,
    list_compiled,
    recipe_slot,
)
from scripts.lock.update import update_component, update_image, update_recipe, update_suite, update_tools
from scripts.lock.wheels import lock_upstream
from scripts.matrix import Image, Matrix
from scripts.project import Project
from scripts.site import PipSettings, Site, read_pip_settings
from scripts.verbs.selection import choose_images

Updates = list[tuple[Slot, Callable[[], bool]]]  # what writes each lock anew, and says whether that changed it


def lock(root: Path, options: argparse.Namespace) -> int:
    """Check the locks against the matrix, or resolve inputs anew: all of them, or those whose locks do not fit."""
    project = Project.open(root)
    matrix, site = project.matrix, project.site
    slots = all_slots(matrix)
    if options.check:
        check_slots(root, slots)
        checked = check_recipes(matrix, Cache(site.cache))
        note(f"{len(slots)} locks fit the matrix")
        if checked.compared < checked.sets:
            left = checked.sets - checked.compared
            note(f"{left} of {checked.sets} sets of wheels were not compared path by path: their RECORDs are not here")
        return ExitCode.ACCEPTED
    pip = read_pip_settings()
    tools: Updates = [] if options.images else [(tools_slot(matrix), partial(update_tools, matrix, pip))]
    updates = tools + _list_updates(matrix, choose_images(matrix, options.images, "lock"), pip, site)
    if options.stale:
        updates = [(slot, update) for slot, update in updates if not _fits(root, slot)]
    changed = [update() for _, update in updates]
    note(f"{sum(changed)} of {len(slots)} locks changed")
    return ExitCode.ACCEPTED


def _list_updates(matrix: Matrix, images: Sequence[Image], pip: PipSettings, site: Site) -> Updates:
    """In the order in which one lock's resolution looks at others'."""
    updates: Updates = []
    for image in images:
        if has_packages(image):
            updates.append((image_slot(matrix, image), partial(update_image, matrix, image)))
        for key, recipe in image.recipes.items():
            updates.append((recipe_slot(matrix, image, key), partial(_lock_recipe, matrix, image, key, pip, site)))
            if recipe.suite:
                updates.append((suite_slot(matrix, image, key), partial(update_suite, matrix, image, key, pip, site)))
    names = {image.name for image in images}
    for component, line, earlier in list_compiled(matrix):
        if component.image in names:
            update = partial(update_component, matrix, component, line, earlier, pip, site)
            updates.append((component_slot(matrix, component, line, earlier), update))
    return updates


def _lock_recipe(matrix: Matrix, image: Image, key: RecipeKey, pip: PipSettings, site: Site) -> bool:
    # What no index carries is fetched first: the solver then finds it in a folder, on any site alike.
    wheels = [lock_upstream(item) for item in image.recipes[key].upstream]
    with lay_out_named(fetch_files(wheels, site, matrix.platform), wheels) as folder:
        return update_recipe(matrix, image, key, pip, site, [folder])


def _fits(root: Path, slot: Slot) -> bool:
    try:
        read_slot(root, slot)
    except ConfigError:
        return False
    return True
