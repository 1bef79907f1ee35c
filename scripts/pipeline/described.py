"""A job's build as its attestations tell it: all that is locked for it, down to the lowest image."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.assemble.types import CompileStep, Step
from scripts.attest.build import Build, Licences, Made
from scripts.attest.licences import read_licences
from scripts.fetch import Cache
from scripts.model import LockedFile, LockedTree
from scripts.pipeline.job import Job


def describe_job(job: Job) -> Build:
    """What a job's candidate is built from, and what was asked for."""
    step, cell, recipe = job.step, job.cell, job.planned.recipe
    assert recipe, "what is built has a recipe"
    steps = list(_with_parents(step))
    # A wheel that was compiled here is no input. Nor is it known by its hash wherever its candidate is tested.
    made = {each.component.distribution: each for each in step.compiled}
    return Build(
        build_id=step.build_id,
        name=step.name,
        version=recipe.version,
        epoch=max(each.epoch for each in steps),
        parameters={
            "cell": cell.id,
            "image": cell.image,
            "recipe": cell.recipe,
            "version": recipe.version,
            "revision": recipe.revision,
            "cuda": cell.cuda.id if cell.cuda else "",
            "compute": cell.target.compute,
            "slim": step.slim,
            "compression": step.compression,
        },
        packages=tuple(file for each in steps for file in each.files if file.name not in made),
        made=tuple(Made(name, each.variables["VERSION"], each.build_id) for name, each in made.items()),
        sources=tuple(source for each in step.compiled for source in _sources(each)),
    )


def licences_in(cache: Cache) -> Licences:
    """What wheels in a cache say of their licences; of those that are not there, nothing."""

    def find(file: LockedFile) -> tuple[str, ...]:
        return read_licences(cache.path(file.sha256)) if file.kind == "wheel" else ()

    return find


def _with_parents(step: Step) -> Iterator[Step]:
    found: Step | None = step
    while found:
        yield found
        found = found.parent


def _sources(step: CompileStep) -> Iterator[LockedFile | LockedTree]:
    """What a wheel was compiled from, and the environment that it was compiled in."""
    yield from step.files
    yield from step.trees
    for each in _with_parents(step.environment):
        yield from each.files
