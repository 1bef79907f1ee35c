"""Build ids: a hash of all that goes into an image or a compiled wheel, known before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from scripts.assemble.context import describe_context
from scripts.assemble.guard import PROGRAM as GUARD
from scripts.assemble.layer import WRITER
from scripts.assemble.types import CompileStep, Step
from scripts.files import content_id, sha256_file
from scripts.model import LockedFile, LockedTree
from scripts.slim.wheel.wheel import VERSION as SLIMMER

IMAGE_FORMAT = 2  # raised when the same inputs are put together in another way
COMPILE_FORMAT = 1  # raised when the same sources are compiled in another way
PROGRAM = ("Dockerfile", "compile")  # of what all compile steps share, that which decides about the bytes


def identify_image(step: Step) -> Step:
    """The step with the labels that every image has, a time no earlier than its parent's, and its build id."""
    image, parent = step.image, step.parent
    epoch = max(step.epoch, parent.epoch if parent else 0)
    labels = {
        **step.labels,
        "org.opencontainers.image.title": image.name,
        "org.opencontainers.image.description": image.summary,
        "org.opencontainers.image.source": image.source,
        "org.opencontainers.image.licenses": image.licenses,
    }
    identity = {
        "format": IMAGE_FORMAT,
        "name": step.name,
        "files": [[file.file, file.sha256] for file in step.files],
        "context": describe_context(image),
        "labels": labels,
        "epoch": epoch,
        "parent": parent.build_id if parent else None,
        "arguments": dict(step.arguments),
        "python": step.python,
        "compression": step.compression,
        "slim": {"compute": step.slim, "version": SLIMMER} if step.slim else None,
        "layers": WRITER if step.wheels else None,
        "overlaps": [[rule.path, rule.keep] for rule in step.overlaps],
        "links": [[rule.path, rule.target] for rule in step.links],
    }
    if step.guard:
        identity["guard"] = [sha256_file(GUARD), dict(step.guard)]
    if step.compiled:
        identity["compiled"] = [[each.component.distribution, each.build_id] for each in step.compiled]
    return replace(step, epoch=epoch, labels=labels, build_id=content_id(identity))


def identify_compile(step: CompileStep, folder: Path) -> CompileStep:
    """The step with its build id; `folder` is that of the step's own files. Memory and cores are no part of it."""
    component = step.component
    identity = {
        "format": COMPILE_FORMAT,
        "name": step.name,
        "distribution": component.distribution,
        "environment": step.environment.build_id,
        "sources": [[item.name, *_describe(item.source), item.folder, item.variable] for item in step.sources],
        "variables": dict(step.variables),
        "program": _hash_files({name: folder / name for name in PROGRAM}),
        "component": _hash_files({"build": component.script, **{path.name: path for path in component.patches()}}),
    }
    return replace(step, build_id=content_id(identity))


def _describe(source: LockedFile | LockedTree) -> list[object]:
    if isinstance(source, LockedFile):
        return [source.file, source.sha256]
    return [source.commit, list(source.submodules) if source.submodules is not None else None]


def _hash_files(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: sha256_file(path) for name, path in sorted(files.items())}
