"""An image's shell: what its Dockerfile makes on top of its parent, without any distribution yet. Seconds."""

from __future__ import annotations

from pathlib import Path

from scripts.assemble.context import lay_out
from scripts.assemble.types import Step
from scripts.buildkit.build import Build, run_build
from scripts.buildkit.builder import Builder
from scripts.console import Update
from scripts.fetch import Cache
from scripts.oci.layout import Layout


def build_shell(
    step: Step,
    builder: Builder,
    parent: Layout | None,
    cache: Cache,
    work: Path,
    log: Path,
    update: Update,
    *,
    cached: bool = True,
) -> Layout:
    """Run a step's Dockerfile; its output goes to `log`. Believes nothing of what comes out before it was hashed.

    Raises BuildFailed, and Undecided where it is the builder or the disk that failed.
    """
    update("laying out the context")
    made = lay_out(step, cache, work)
    contexts = {"inputs": str(made.inputs)} if step.inputs else {}
    labels = step.all_labels
    if parent and step.parent:
        contexts[step.parent.name] = f"oci-layout://{parent.folder}@{parent.digest}"
        labels |= {
            "org.opencontainers.image.base.name": f"hallmark/{step.parent.name}",
            "org.opencontainers.image.base.digest": parent.digest,
        }
    build = Build(
        context=made.context,
        contexts=contexts,
        arguments=shell_arguments(step),
        labels=labels,
        destination=work / "layout",
        compression=step.compression,
        cached=cached,
    )
    run_build(builder, build, log, update)
    update("hashing the result")
    layout = Layout.open(build.destination)
    layout.verify()
    return layout


def shell_arguments(step: Step) -> dict[str, str]:
    """What a Dockerfile may declare with ARG: the time that files get, and what its recipe says."""
    return {"SOURCE_DATE_EPOCH": str(step.epoch), **step.arguments}
