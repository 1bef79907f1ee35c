"""The verb that serves a model from a cell's image."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from scripts.errors import ConfigError
from scripts.pipeline import Job, Options, Stage, make_jobs, open_bench
from scripts.plan import Selection, make_plan, require_buildable
from scripts.project import Project
from scripts.serve.container import Wanted
from scripts.serve.model import read_model
from scripts.serve.network import choose_way
from scripts.serve.serve import serve as serve_model
from scripts.serve.subject import find_candidate, find_stamped


def serve(root: Path, options: argparse.Namespace) -> int:
    """Serve a model from the stamped image of one cell, until Ctrl-C."""
    project = Project.open(root)
    job = find_job(project, options.cell)
    if project.site.gpu_host:
        cause = "HALLMARK_GPU_HOST is set, and a model is served on the machine that the command is given on"
        raise ConfigError(cause, "serve", "give it on that machine; or unset the variable, to serve here")
    if not 0 < options.port < 1 << 16:
        raise ConfigError(f"no port {options.port}", "--port", "from 1 to 65535")
    wanted = Wanted(options.port, tuple(options.arguments), read_environment(options.env))
    model = read_model(options.model)
    bench = open_bench(project)
    way = choose_way(bench.engine, model)
    subject = find_candidate(bench, job) if options.candidate else find_stamped(bench, job)
    return serve_model(bench, subject, model, wanted, way)


def find_job(project: Project, pattern: str) -> Job:
    """The one cell that a pattern names. Raises ConfigError for none and for several."""
    cells = make_plan(project.matrix, Selection([pattern]))
    if len(cells) != 1:
        names = ", ".join(each.cell.id for each in cells)
        raise ConfigError(f"one cell is served, and these were selected: {names}", "serve", "name one")
    require_buildable(cells)
    [job] = make_jobs(project.matrix, cells, project.build_options(), Stage.PUBLISH, Options())
    return job


def read_environment(given: Sequence[str]) -> dict[str, str]:
    """Variables as `NAME=VALUE`, or as a name whose value is handed on. Raises ConfigError for one that is not set."""
    found = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not name or (not sign and name not in os.environ):
            raise ConfigError(f"`{text}` is no variable", "--env", "NAME=VALUE, or the name of one that is set here")
        found[name] = value if sign else os.environ[name]
    return found
