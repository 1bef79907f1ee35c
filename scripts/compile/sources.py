"""The sources of compile steps, from wherever the site has them: all at once, before the first compiler starts."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.assemble.types import CompileStep
from scripts.errors import Problem, Undecided
from scripts.fetch import fetch_files, fetch_trees
from scripts.matrix import Platform
from scripts.site import Site

NEXT_STEP = (
    "name a mirror in HALLMARK_MIRRORS or a folder in HALLMARK_WHEELS that has them, "
    "or build from upstream's wheels: `--recipe wheel`"
)


def fetch_sources(steps: Sequence[CompileStep], site: Site, platform: Platform) -> None:
    """Bring every source of these steps into the cache. Raises one Undecided with all that are not to be had."""
    problems: list[Problem] = []
    try:
        fetch_files(list(dict.fromkeys(file for step in steps for file in step.files)), site, platform)
    except Undecided as error:
        problems += error.problems
    try:
        fetch_trees(list(dict.fromkeys(tree for step in steps for tree in step.trees)), site)
    except Undecided as error:
        problems += error.problems
    if problems:
        raise Undecided([*problems, Problem(f"{len(problems)} sources are not to be had", "compile", NEXT_STEP)])
