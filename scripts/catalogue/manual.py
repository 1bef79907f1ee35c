"""How to run a cell's image: the commands of its README, with the cell's own tag in them."""

from __future__ import annotations

import re

from scripts.pipeline import Job
from scripts.publish.stamp import NAMESPACE, name_tags

_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_references(job: Job, registry: str = "") -> tuple[str, str]:
    """The moving tags' names in a registry, or in the engine where none is given: without the version, and with it."""
    tags = name_tags(job.planned, job.step.build_id)
    place = f"{registry or NAMESPACE}/{tags.image}"
    return f"{place}:{tags.newest}", f"{place}:{tags.versioned}"


def read_commands(job: Job, registry: str = "") -> tuple[str, ...]:
    """The README's blocks that run this image: those for a GPU for a GPU's cell, those for the CPU for the CPU's."""
    path = job.planned.image.folder / "README.md"
    text = path.read_text("utf-8") if path.is_file() else ""
    name = re.compile(rf"{NAMESPACE}/{re.escape(job.cell.image)}:([\w.-]+)")
    found = []
    for block in _BLOCK.findall(text):
        of_cpu = {f"-{tag}".endswith("-cpu") for tag in name.findall(block)}
        if "docker run" in block and of_cpu == {not job.cell.target.has_gpu}:
            _, versioned = name_references(job, registry)
            found.append(name.sub(versioned, block).rstrip("\n"))
    return tuple(found)
