"""The verbs of the command line: each opens the project, runs stages, and shows what came of it."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from scripts import plan as planning
from scripts import report, trim
from scripts.audit.evidence import render_audit
from scripts.audit.judge import judge
from scripts.audit.subject import read_subject
from scripts.build.bake import render_bake
from scripts.build.inputs import lay_out, slim_step
from scripts.build.steps import make_steps
from scripts.console import note, step
from scripts.engine import Embedded, probe_host
from scripts.errors import ConfigError, ExitCode, worst
from scripts.fetch import fetch_files
from scripts.fetch.cache import lay_out_named
from scripts.files import format_size, write_atomic
from scripts.lock import all_slots, check_slots, read_slot, tools_slot
from scripts.lock.update import update_image, update_recipe, update_tools
from scripts.lock.wheels import lock_upstream
from scripts.matrix import AuditRule, Matrix, load_matrix, make_cells, select_rules
from scripts.model import Target
from scripts.pipeline import CellReport, Options, Stage, read_verdicts, run_cells
from scripts.plan import PlannedCell, Selection, make_plan, require_buildable
from scripts.project import Project, find_running, open_engine
from scripts.registry.reference import check_digest
from scripts.reproduce import reproduce as rebuild
from scripts.site import Site, read_pip_settings
from scripts.sizes.measure import measure_cell
from scripts.sizes.picture import draw_sizes
from scripts.slim.wheel import slim_wheel
from scripts.verdict import EXIT_CODES
from scripts.workspace import Workspace

Verb = Callable[[Path, argparse.Namespace], int]


def plan(root: Path, options: argparse.Namespace) -> int:
    """Show the selected cells as a table, as JSON for CI, or as a docker-bake file."""
    matrix = load_matrix(root)
    cells = make_plan(matrix, _selection(options))
    if options.json:
        print(planning.render_json(cells))
    elif options.bake:
        print(render_bake(make_steps(matrix, [planned for planned in cells if planned.recipe]), Workspace(root)))
    else:
        report.show_plan(cells)
    return ExitCode.ACCEPTED


def lock(root: Path, options: argparse.Namespace) -> int:
    """Check the locks against the matrix, or resolve every input anew."""
    matrix = load_matrix(root)
    slots = all_slots(matrix)
    if options.check:
        check_slots(root, slots)
        note(f"{len(slots)} locks fit the matrix")
        return ExitCode.ACCEPTED
    site, pip = Site.from_environment(), read_pip_settings()
    changed = [update_tools(matrix, pip)]
    for image in matrix.images.values():
        if not image.cells:
            changed.append(update_image(matrix, image))
        for key, recipe in image.recipes.items():
            # What no index carries is fetched first: the solver then finds it in a folder, on any site alike.
            wheels = [lock_upstream(item) for item in recipe.upstream]
            with lay_out_named(fetch_files(wheels, site, matrix.platform), wheels) as folder:
                changed.append(update_recipe(matrix, image, key, pip, [folder]))
    note(f"{sum(changed)} of {len(slots)} locks changed")
    return ExitCode.ACCEPTED


def fetch(root: Path, options: argparse.Namespace) -> int:
    """Bring the inputs of the selected cells, and of the embedded engine, into the cache."""
    project, cells = _open(root, options)
    steps = make_steps(project.matrix, cells)
    files = [file for step in steps for file in step.inputs]
    files += read_slot(root, tools_slot(project.matrix)).files
    cache = fetch_files(files, project.site, project.matrix.platform)
    if options.contexts:
        with project.workspace.claim():
            for step in steps:
                shutil.rmtree(project.workspace.contexts(step.name), ignore_errors=True)
                lay_out(slim_step(step, cache), cache, project.workspace.contexts(step.name))
    distinct = {file.sha256: file.size for file in files}
    note(f"{len(distinct)} files, {format_size(sum(distinct.values()))}, are in {cache.root}")
    return ExitCode.ACCEPTED


def build(root: Path, options: argparse.Namespace) -> int:
    """Build the selected cells' candidates."""
    return _run(root, options, Stage.BUILD)


def smoke(root: Path, options: argparse.Namespace) -> int:
    """Build and smoke-test the selected cells."""
    return _run(root, options, Stage.SMOKE)


def publish(root: Path, options: argparse.Namespace) -> int:
    """Take the selected cells through the whole pipeline."""
    return _run(root, options, Stage.PUBLISH)


def verify(root: Path, options: argparse.Namespace) -> int:
    """Test one candidate that was built elsewhere: this checkout must come to the same digest."""
    check_digest(options.digest)
    project, cells = _open(root, options)
    if len(cells) != 1:
        names = ", ".join(planned.cell.id for planned in cells)
        raise ConfigError(f"a digest belongs to one cell, and these were selected: {names}", "", "name one of them")
    return _report(run_cells(project, cells, Stage.PUBLISH, Options(digest=options.digest)))


def audit(root: Path, options: argparse.Namespace) -> int:
    """Tell of each subject whether a target can run its GPU code."""
    matrix = load_matrix(root)
    target = _gpu(matrix, options.target)
    policies = _policies(matrix, options.policy, target) if options.policy else [None]
    codes = []
    for text in options.subjects:
        subject = read_subject(text, None if options.remote else find_running(Project.open(root)))
        audits = [judge(subject.libraries, target.compute, rules) for rules in policies]
        found = min(audits, key=lambda audit: len(audit.problems))
        if options.json:
            print(json.dumps(render_audit(found, text, target, subject.digest), ensure_ascii=False))
        else:
            report.show_audit(found, subject.name, target)
        codes.append(ExitCode.ACCEPTED if found.passed else ExitCode.REJECTED)
    return worst(codes)


def slim(root: Path, options: argparse.Namespace) -> int:
    """Write wheels again for one target. A wheel that may not be changed is refused: exit code 1."""
    target = _gpu(load_matrix(root), options.target)
    codes = []
    for wheel in options.wheels:
        with step(wheel.name, "slim"):
            slimmed = slim_wheel(wheel, options.output, target.compute)
        report.show_slimmed(slimmed)
        codes.append(ExitCode.REJECTED if slimmed.refusal else ExitCode.ACCEPTED)
    return worst(codes)


def sizes(root: Path, options: argparse.Namespace) -> int:
    """Show what the selected cells' images hold, by distribution, and draw it."""
    project, cells = _open(root, options)
    if options.svg and len(cells) != 1:
        raise ConfigError(f"a picture shows one cell, and {len(cells)} were selected", "--svg", "name one cell")
    whole = replace(project.matrix, slim=False)
    for planned in cells:
        measured = measure_cell(project, planned, whole)
        report.show_sizes(measured)
        if options.svg:
            write_atomic(options.svg, draw_sizes(measured).encode())
    return ExitCode.ACCEPTED


def verdict(root: Path, options: argparse.Namespace) -> int:
    """Show the evidence of the selected cells' current builds. Runs nothing."""
    project = _project(root, options)
    rows = read_verdicts(project, make_plan(project.matrix, _selection(options)))
    report.show_verdicts(rows)
    return worst([EXIT_CODES[row.verdict] for row in rows])


def reproduce(root: Path, options: argparse.Namespace) -> int:
    """Build the selected cells again, from nothing, and say in what they differ."""
    project, cells = _open(root, options)
    rows = rebuild(project, cells)
    report.show_reproductions(rows)
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
    with project.workspace.claim():
        freed = trim.clean(project.workspace, find_running(project), project.site.cache, inputs=options.cache)
    note(f"{format_size(freed)} freed")
    return ExitCode.ACCEPTED


def _run(root: Path, options: argparse.Namespace, last: Stage) -> int:
    project, cells = _open(root, options)
    if options.jobs < 1:
        raise ConfigError("at least one cell at a time", "--jobs")
    return _report(run_cells(project, cells, last, Options(options.jobs, options.keep_going)))


def _report(rows: list[CellReport]) -> int:
    report.show_cells(rows)
    return worst([row.exit_code for row in rows])


def _gpu(matrix: Matrix, name: str) -> Target:
    target = matrix.targets.get(name)
    if target is None or not target.has_gpu:
        gpus = ", ".join(target.id for target in matrix.targets.values() if target.has_gpu)
        raise ConfigError(f"`{name}` is not a GPU of the matrix", "--target", f"one of: {gpus}")
    return target


def _policies(matrix: Matrix, name: str, target: Target) -> Sequence[list[AuditRule] | None]:
    """An image's rules for each of its cells of a target: which of them a subject is like, it does not say itself."""
    image = matrix.images.get(name)
    if image is None or not image.audit:
        names = ", ".join(image.name for image in matrix.images.values() if image.audit)
        raise ConfigError(f"no image `{name}` with [[audit]] rules", "--policy", f"one of: {names}")
    cells = [cell for cell in make_cells(matrix) if cell.image == name and cell.target == target]
    if not cells:
        raise ConfigError(f"no cell of `{name}` is for {target.id}", "--policy", "give another target")
    return [select_rules(image.audit, cell) for cell in cells]


def _open(root: Path, options: argparse.Namespace) -> tuple[Project, list[PlannedCell]]:
    project = _project(root, options)
    cells = make_plan(project.matrix, _selection(options))
    require_buildable(cells)
    return project, cells


def _project(root: Path, options: argparse.Namespace) -> Project:
    project = Project.open(root)
    return replace(project, matrix=replace(project.matrix, slim=False)) if options.no_slim else project


def _selection(options: argparse.Namespace) -> Selection:
    return Selection([*options.patterns, *options.only], options.image, options.cuda, options.target, options.recipe)
