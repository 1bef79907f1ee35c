"""The verbs over cells: each opens the project, runs stages, and shows what came of it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from scripts import trim
from scripts.assemble.bake import render_bake
from scripts.assemble.context import lay_out
from scripts.assemble.steps import make_steps
from scripts.attest.seal import open_sealer
from scripts.buildkit.pool import open_builder
from scripts.compile.sources import fetch_sources
from scripts.console import note, show_document, tell
from scripts.engine import Embedded, probe_host
from scripts.engines import find_remote, find_running, open_engine
from scripts.errors import ConfigError, ExitCode, HallmarkError, worst
from scripts.feed import find_retired, read_feed
from scripts.fetch import fetch_files
from scripts.files import format_size
from scripts.lock import read_slot, suite_slot, tools_slot
from scripts.pipeline import (
    Bench,
    CellReport,
    Job,
    Options,
    Stage,
    make_jobs,
    open_bench,
    read_verdicts,
    run_cells,
)
from scripts.pipeline.output import check_output, write_output
from scripts.plan import make_plan
from scripts.project import Project
from scripts.publish.stamp import name_repository
from scripts.reference import check_digest
from scripts.report.cells import show_cells, show_reproductions, show_verdicts
from scripts.reproduce import reproduce as rebuild
from scripts.verbs.bundling import keep_bundle, prepare_bundle
from scripts.verbs.runners import promote
from scripts.verbs.selection import open_cells, read_selection
from scripts.verdict import EXIT_CODES


def bake(root: Path, options: argparse.Namespace) -> int:
    """Show the selected cells that are ready as a docker-bake file."""
    project = Project.open(root)
    ready = [planned for planned in make_plan(project.matrix, read_selection(options)) if planned.recipe]
    show_document(render_bake(make_steps(project.matrix, ready, project.build_options()), project.workspace))
    return ExitCode.ACCEPTED


def fetch(root: Path, options: argparse.Namespace) -> int:
    """Bring the inputs of the selected cells, and of the embedded engine, into the cache."""
    project, cells = open_cells(root, options)
    steps = make_steps(project.matrix, cells, project.build_options(slim=not options.no_slim))
    compiled = [each for step in steps for each in step.compiled]
    fetch_sources(compiled, project.site, project.matrix.platform)
    files = [file for step in (*steps, *(each.environment for each in compiled)) for file in step.files]
    files += [file for each in compiled for file in each.files]
    files += read_slot(root, tools_slot(project.matrix)).files
    suites = {(each.image.name, each.cell.recipe, each.cell.line): each for each in cells if each.recipe}
    for each in suites.values():
        if each.recipe and each.recipe.suite:
            slot = suite_slot(project.matrix, each.image, (each.cell.recipe, each.cell.line))
            files += read_slot(root, slot).files
    cache = fetch_files(files, project.site, project.matrix.platform)
    if options.contexts:
        for step in steps:
            folder = project.workspace.contexts(step.name)
            shutil.rmtree(folder, ignore_errors=True)
            lay_out(step, cache, folder)
    distinct = {file.sha256: file.size for file in files}
    note(f"{len(distinct)} files, {format_size(sum(distinct.values()))}, are in {cache.root}")
    return ExitCode.ACCEPTED


def build(root: Path, options: argparse.Namespace) -> int:
    """Build the selected cells' candidates, or take one that was built elsewhere, and audit it."""
    return _run(root, options, Stage.BUILD)


def smoke(root: Path, options: argparse.Namespace) -> int:
    """Build and smoke-test the selected cells."""
    return _run(root, options, Stage.SMOKE)


def publish(root: Path, options: argparse.Namespace) -> int:
    """Take the selected cells through the whole pipeline, or one candidate that was built, or tested, elsewhere."""
    if options.evidence:
        return promote(root, options)
    return _run(root, options, Stage.PUBLISH)


def verdict(root: Path, options: argparse.Namespace) -> int:
    """Show what the evidence of the selected cells' current builds comes to. Runs nothing."""
    project = Project.open(root)
    cells = make_plan(project.matrix, read_selection(options))
    build = project.build_options(slim=not options.no_slim)
    rows = read_verdicts(project.workspace, project.matrix, cells, build)
    show_verdicts(rows, find_retired(read_feed(project.workspace.feed)[0]))
    return worst([EXIT_CODES[row.verdict] for row in rows])


def reproduce(root: Path, options: argparse.Namespace) -> int:
    """Build the selected cells again, from nothing, and say in what they differ."""
    project, cells = open_cells(root, options)
    steps = make_steps(project.matrix, cells, project.build_options(slim=not options.no_slim))
    rows = rebuild(open_bench(project), steps)
    show_reproductions(rows)
    return ExitCode.REJECTED if any(row.differences for row in rows) else ExitCode.ACCEPTED


def engine(root: Path, options: argparse.Namespace) -> int:
    """Start, stop or show the engine."""
    project = Project.open(root)
    embedded = Embedded(project.workspace.engine)
    if options.action == "up":
        running = open_engine(project)
        note(f"Docker Engine {running.version} at {running.host}")
    elif options.action == "down":
        note("stopped" if embedded.down() else "the embedded engine was not running")
    else:
        host, why = probe_host()
        note(f"host's engine: {host.version} at {host.host}" if host else f"host's engine: {why}")
        note(embedded.status())
    return ExitCode.ACCEPTED


def clean(root: Path, options: argparse.Namespace) -> int:
    """Free everything that no tag needs."""
    project = Project.open(root)
    running = find_running(project)
    builder = open_builder(running, project.site.builders) if running else None
    engines = [running] if running else []
    # Without it, what has a tag there alone would look like what has none.
    if running and (remote := find_remote(project, running.environment.get("PATH"))):
        engines.append(remote)
    freed = trim.clean(project.workspace, engines, builder, project.site.cache, inputs=options.cache)
    note(f"{format_size(freed)} freed")
    return ExitCode.ACCEPTED


def _run(root: Path, options: argparse.Namespace, last: Stage) -> int:
    project, cells = open_cells(root, options)
    asked = _read_options(options)
    jobs = make_jobs(project.matrix, cells, project.build_options(slim=not options.no_slim), last, asked)
    _check_asked(project, jobs, asked)
    output = options.output if last is Stage.BUILD else None
    if output:
        check_output(output)
    if last > Stage.BUILD:
        prepare_bundle(project, jobs, options)
    bench = open_bench(project)
    rows = run_cells(bench, jobs)
    codes = [row.exit_code for row in rows]
    if last > Stage.BUILD and options.bundle:
        codes.append(keep_bundle(bench, jobs[0], options.bundle, options.by))
    if output:
        codes.append(_write(bench, jobs, rows, output))
    try:
        trim.trim(project.workspace, bench.builder, {job.step.name: job.step for job in jobs}.values())
    except HallmarkError as error:  # what was decided stands, whatever is left lying about
        tell([line for problem in error.problems for line in problem.lines("not everything was tidied up: ")])
    show_cells(rows)
    return worst(codes)


def _write(bench: Bench, jobs: Sequence[Job], rows: Sequence[CellReport], path: Path) -> ExitCode:
    """Write what was built, if all of it was: what is carried elsewhere is to be whole. How that went."""
    lacking = [row.cell for row in rows if row.exit_code is not ExitCode.ACCEPTED]
    if lacking:
        note(f"{path} was not written: without {', '.join(lacking)} it would not be all that was asked for")
        return ExitCode.ACCEPTED  # of these, their own codes are told
    try:
        write_output(bench, jobs, path)
    except HallmarkError as error:  # what was built stands
        tell([line for problem in error.problems for line in problem.lines("not written: ")], "red")
        return error.exit_code
    return ExitCode.ACCEPTED


def _read_options(options: argparse.Namespace) -> Options:
    if options.jobs < 1:
        raise ConfigError("at least one cell at a time", "--jobs", "give 1 or more")
    if options.digest:
        check_digest(options.digest)
    elif options.source:
        raise ConfigError("says where a candidate lies, and not which it is", "--from", "give its --digest, too")
    return Options(
        jobs=options.jobs,
        keep_going=options.keep_going,
        digest=options.digest,
        source=options.source,
    )


def _check_asked(project: Project, jobs: Sequence[Job], asked: Options) -> None:
    """Refuse before hours of work what could not be done after them. Raises ConfigError."""
    if asked.digest and len(jobs) != 1:
        names = ", ".join(job.cell.id for job in jobs)
        raise ConfigError(
            f"a candidate is tested as one cell, and these were selected: {names}", "--digest", "name one"
        )
    if project.site.registry:
        open_sealer(project.site)
        for job in jobs:
            name_repository(project.site.registry, job.planned.image.name)
