"""The verbs of CI: which jobs there are, and the promotion of what another machine has tested."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.attest.seal import open_sealer
from scripts.console import show_document
from scripts.errors import ConfigError, ExitCode
from scripts.pipeline import Options, Stage, make_jobs
from scripts.pipeline.elsewhere import promote_tested
from scripts.pipeline.judge import judge_cell
from scripts.plan import make_plan
from scripts.project import Project
from scripts.publish.stamp import name_repository
from scripts.reference import check_digest
from scripts.registry.client import Registry
from scripts.report.cells import show_cells
from scripts.report.runners import show_drawn
from scripts.runners import Runners, draw_builds, draw_tests, read_gpus
from scripts.verbs.selection import open_cells, read_selection


def matrix(root: Path, options: argparse.Namespace) -> int:
    """Print the matrix of a job of build.yml, as a line for $GITHUB_OUTPUT. What is not run is shown, with the reason.

    `test` reads what is in .hallmark/runs: candidates that were built, and what was decided of them.
    """
    project = Project.open(root)
    runners = Runners(read_gpus(options.gpus, project.matrix), options.compile_on)
    plan = make_plan(project.matrix, read_selection(options))
    ready = [planned for planned in plan if not planned.gap]
    asked = make_jobs(project.matrix, ready, project.build_options(), Stage.PUBLISH, Options())
    jobs = {job.cell.id: job for job in asked}
    if options.what == "build":
        drawn = draw_builds(plan, jobs, runners)
    else:
        verdicts = {name: judge_cell(project.workspace, job) for name, job in jobs.items()}
        drawn = draw_tests(plan, jobs, verdicts, runners)
    show_drawn(drawn, options.what)
    show_document(f"rows={drawn.render()}")
    # To build nothing would look like a success; that nothing is left to be tested is one.
    return ExitCode.INCONCLUSIVE if options.what == "build" and not drawn.rows else ExitCode.ACCEPTED


def promote(root: Path, options: argparse.Namespace) -> int:
    """Tag in the registry what another machine has tested, if its evidence shows that it passed. Needs no engine."""
    if not options.digest:
        raise ConfigError("says what was shown, and not of which candidate", "--evidence", "give its --digest, too")
    if options.source:
        raise ConfigError("with --evidence nothing is taken from anywhere", "--from", "leave it out")
    check_digest(options.digest)
    if not options.evidence.is_dir():
        raise ConfigError("there is no such folder", str(options.evidence), "give a copy of .hallmark/runs")
    project, cells = open_cells(root, options)
    if not project.site.registry:
        raise ConfigError("there is no registry to set a tag in", "--evidence", "set HALLMARK_REGISTRY")
    open_sealer(project.site)  # what cannot sign is noticed before anything is asked
    asked = Options(digest=options.digest)
    jobs = make_jobs(project.matrix, cells, project.build_options(slim=not options.no_slim), Stage.PUBLISH, asked)
    if len(jobs) != 1:
        names = ", ".join(job.cell.id for job in jobs)
        cause = f"a candidate is promoted as one cell, and these were selected: {names}"
        raise ConfigError(cause, "--evidence", "name one")
    name_repository(project.site.registry, jobs[0].planned.image.name)  # a name that no registry could have is refused
    row = promote_tested(project, jobs[0], options.evidence, Registry())
    show_cells([row])
    return row.exit_code
