"""From components and their locks to compile steps, each known by a content id before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.assemble.architecture import describe_target
from scripts.assemble.build_ids import identify_compile, identify_image
from scripts.assemble.types import CompileStep, SourceTree, Step
from scripts.errors import ConfigError
from scripts.lock import Lock, component_slot, read_slot
from scripts.lock.lockfile import RELOCK
from scripts.lock.slots import TOOLKIT, select_earlier
from scripts.matrix import Component, Matrix, Source
from scripts.model import Cell, CudaLine, LockedFile, LockedTree


def step_folder(matrix: Matrix) -> Path:
    """Where the files lie that all compile steps share."""
    return matrix.images[TOOLKIT].folder / "compile"


def make_compile_steps(matrix: Matrix, cell: Cell, components: Sequence[str], toolkit: Step) -> tuple[CompileStep, ...]:
    """The compile steps of a cell's recipe, in order; an environment has what its component asks for of the earlier.

    `toolkit` is the image that environments are made like. Raises ConfigError for a missing or stale lock.
    """
    cuda = cell.cuda
    if cuda is None:
        raise ValueError(f"{cell.id}: nothing is compiled without CUDA")
    steps: list[CompileStep] = []
    for component in (matrix.components[name] for name in components):
        used = select_earlier(component, cuda.id, [each.component for each in steps])
        earlier = tuple(each for each in steps if each.component in used)
        slot = component_slot(matrix, component, cuda.id, used)
        lock = read_slot(matrix.root, slot)
        name = f"{component.id}-{cuda.slug}-{cell.target.architecture}"
        environment = _make_environment(f"{name}-environment", toolkit, lock, earlier)
        step = CompileStep(
            name=name,
            component=component,
            environment=environment,
            sources=_find_sources(component, cuda.id, lock, slot.place),
            variables=_set_variables(component, cell, cuda, environment.epoch),
        )
        steps.append(identify_compile(step, step_folder(matrix)))
    return tuple(steps)


def _make_environment(name: str, toolkit: Step, lock: Lock, earlier: tuple[CompileStep, ...]) -> Step:
    """The toolkit's image with a component's build requirements for wheels, and what was compiled before it."""
    files = tuple(file for file in toolkit.files if file.kind != "wheel")
    wheels = tuple(file for file in lock.files if file.kind == "wheel")
    step = replace(
        toolkit,
        name=name,
        files=(*files, *wheels),
        epoch=max(toolkit.epoch, lock.epoch),
        compression="zstd",  # it is never pushed anywhere
        compiled=earlier,
    )
    return identify_image(step)


def _find_sources(component: Component, line: str, lock: Lock, place: str) -> tuple[SourceTree, ...]:
    """A component's sources for a CUDA line, in its own order. Raises ConfigError where the lock lacks one."""
    return tuple(
        SourceTree(source.name, _find(source, lock, place), source.folder, source.variable)
        for source in component.sources_for(line)
    )


def _set_variables(component: Component, cell: Cell, cuda: CudaLine, epoch: int) -> dict[str, str]:
    """What the component's build script finds in its environment, beside what the step sets as it runs."""
    return {
        **describe_target(cuda, cell.target),
        "SOURCE_DATE_EPOCH": str(epoch),
        # Who sees the version sees what was compiled: by PEP 440 it satisfies `==0.29.0` as upstream's own does.
        "VERSION": f"{component.version}+{cuda.slug}.{cell.target.architecture}",
        **component.arguments,
        **component.lines[cuda.id].arguments,
    }


def _find(source: Source, lock: Lock, place: str) -> LockedFile | LockedTree:
    for tree in lock.trees:
        if source.repository and tree.name == source.name:
            return tree
    for file in lock.files:
        if source.sdist and file.kind == "sdist" and source.sdist == f"{file.name}=={file.version}":
            return file
        if source.url and file.kind == "archive" and file.sha256 == source.sha256:
            return file
    raise ConfigError(f"there is no source `{source.name}`", place, RELOCK)
