"""The verb that shows what there is to build. It is asked often, and needs no engine: little is imported for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.compile.estimate import Machine, describe_work
from scripts.console import note, show_document
from scripts.errors import ExitCode
from scripts.plan import make_plan, render_json
from scripts.project import Project
from scripts.report.plan import show_plan
from scripts.verbs.selection import read_selection


def plan(root: Path, options: argparse.Namespace) -> int:
    """Show the selected cells as a table, or as JSON for CI."""
    project = Project.open(root)
    cells = make_plan(project.matrix, read_selection(options))
    if options.json:
        show_document(render_json(cells))
        return ExitCode.ACCEPTED
    show_plan(cells)
    compiled = [project.matrix.components[name] for each in cells if each.recipe for name in each.recipe.compile]
    for line in describe_work(compiled, Machine.here()):
        note(f"compiled: {line}")
    if project.site.gpu_host:
        note(f"tested and tagged in the Docker Engine of HALLMARK_GPU_HOST={project.site.gpu_host}")
    return ExitCode.ACCEPTED
