"""The verb that moves recipes to newer upstream versions."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from scripts.console import note, step
from scripts.errors import ExitCode, HallmarkError, worst
from scripts.files import write_atomic
from scripts.lock.slots import recipe_slot, suite_slot
from scripts.lock.update import update_recipe, update_suite
from scripts.matrix import load_matrix
from scripts.report.proposals import show_proposals
from scripts.site import PipSettings, Site, read_pip_settings
from scripts.update.propose import Proposal, propose
from scripts.update.rewrite import rewrite
from scripts.verbs.selection import choose_images


def update(root: Path, options: argparse.Namespace) -> int:
    """Propose newer versions that fit together, and write and lock them; only show them where `--dry-run` is given.

    A recipe whose wheels the lock refuses stays as it was, and the others go on.
    """
    matrix = load_matrix(root)
    site, pip = Site.from_environment(), read_pip_settings()
    proposals = []
    for image in choose_images(matrix, options.images, "update"):
        for key in image.recipes:
            with step(f"{image.name} {' '.join(key)}", "update"):
                proposals.append(propose(matrix, image, key, pip, site))
    codes = [ExitCode.ACCEPTED]
    newer = [each for each in proposals if each.is_newer]
    for proposal in [] if options.dry_run else newer:
        try:
            _take(root, proposal, pip, site)
        except HallmarkError as error:
            codes.append(error.exit_code)
            proposals[proposals.index(proposal)] = replace(proposal, why=f"not taken: {error.problems[0]}")
    show_proposals(proposals)
    if newer and not options.dry_run:
        note("nothing was built or tested with these: `nox -s build`, then `verify-…` where the GPU is")
    return worst(codes)


def _take(root: Path, proposal: Proposal, pip: PipSettings, site: Site) -> None:
    """Write a proposal into image.toml and lock its wheels; whatever ends that, all files are as they were before."""
    matrix = load_matrix(root)
    image = matrix.images[proposal.image]
    places = [image.folder / "image.toml", root / recipe_slot(matrix, image, proposal.key).place]
    if has_suite := bool(image.recipes[proposal.key].suite):
        places.append(root / suite_slot(matrix, image, proposal.key).place)
    before = {path: path.read_bytes() for path in places if path.exists()}
    try:
        write_atomic(places[0], rewrite(places[0].read_text("utf-8"), proposal).encode())
        matrix = load_matrix(root)
        image = matrix.images[proposal.image]
        update_recipe(matrix, image, proposal.key, pip, site, [])
        if has_suite:
            update_suite(matrix, image, proposal.key, pip, site)
    except BaseException:
        for path, data in before.items():
            write_atomic(path, data)
        raise
