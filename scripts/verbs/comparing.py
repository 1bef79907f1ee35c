"""The verb that compares engines on one target."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.compare.engines import ENGINES
from scripts.compare.figures import Missing
from scripts.compare.gather import gather
from scripts.compare.parts import PARTS
from scripts.compare.run import Asked, Subject, measure
from scripts.compare.types import Comparison
from scripts.compare.write import write_report
from scripts.console import note
from scripts.errors import ConfigError, ExitCode
from scripts.matrix import Matrix, explain_absence
from scripts.model import Target
from scripts.pipeline import Job, Options, Stage, make_jobs, open_bench
from scripts.plan import PlannedCell, Selection, make_plan
from scripts.project import Project
from scripts.reference import check_digest
from scripts.report.comparison import show_comparison
from scripts.text import name_some


def compare(root: Path, options: argparse.Namespace) -> int:
    """Measure the engines on a target, unless that is done already, and write the report of all that is known."""
    project = Project.open(root)
    asked = read_asked(project.matrix, options)
    target = project.matrix.targets[options.target]
    cells, absent = choose_cells(project.matrix, target, options)
    build = project.build_options(slim=not options.no_slim)
    jobs = bring_candidates(make_jobs(project.matrix, cells, build, Stage.SMOKE, Options()), options.candidate)
    subjects = [Subject(job, asked.limit_gib) for job in jobs]
    machine, undecided = ("", {}) if options.report_only else measure(open_bench(project), subjects, asked)
    comparison = gather(project.workspace, target, subjects, absent, machine, undecided, name_choice(options))
    show_comparison(comparison)
    for file in write_report(comparison, options.output or project.workspace.comparisons):
        note(str(file))
    return judge(comparison, asked.parts, bool(undecided))


def name_choice(options: argparse.Namespace) -> list[str]:
    """The options that say what is compared, as they were given, but for the parts and where the report goes."""
    memory = [] if options.memory is None else [options.memory]
    chosen = {"engine": options.engine, "memory": memory, "cuda": options.cuda, "recipe": options.recipe}
    words = [word for name, values in chosen.items() for value in values for word in (f"--{name}", str(value))]
    return [*words, "--no-slim"] if options.no_slim else words


def read_asked(matrix: Matrix, options: argparse.Namespace) -> Asked:
    """What the options ask to measure. Raises ConfigError for what there is not."""
    if options.target not in matrix.targets:
        raise ConfigError(f"no target `{options.target}`", "compare", name_some(matrix.targets))
    parts = [part for words in options.only for part in words.split(",")]
    if unknown := [part for part in parts if part not in PARTS]:
        raise ConfigError(f"no part {', '.join(unknown)}", "--only", name_some(PARTS))
    if options.runs < 1:
        raise ConfigError("at least one run", "--runs", "give 1 or more")
    memory = matrix.targets[options.target].memory
    if options.memory is not None and not 0 < options.memory <= memory:
        raise ConfigError(f"{options.target} has {memory} GiB", "--memory", "give as much or less, in GiB")
    chosen = tuple(part for part in PARTS if not parts or part in parts)
    return Asked(chosen, options.memory or memory, options.runs, options.again)


def choose_cells(
    matrix: Matrix, target: Target, options: argparse.Namespace
) -> tuple[list[PlannedCell], dict[str, str]]:
    """The cells to compare, and the engines and cells that are not to be, with the reason.

    Raises ConfigError for an engine that there is not, and where no cell is left.
    """
    names = [name for words in options.engine for name in words.split(",")]
    known = [name for name in ENGINES if name in matrix.images]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"no engine {', '.join(unknown)}", "--engine", name_some(known))
    wanted = names or known
    there = {cell.image for cell in matrix.cells if cell.target == target}
    absent = {name: explain_absence(matrix, name, target.id) for name in wanted if name not in there}
    images = [name for name in wanted if name in there]
    if not images:
        why = [f"{name}: {reason}" for name, reason in absent.items()]
        raise ConfigError("no engine has a cell", target.id, "choose another target, or add one to matrix.toml", why)
    plan = make_plan(matrix, Selection([], images, options.cuda, [target.id], options.recipe))
    return [each for each in plan if not each.gap], absent | {each.cell.id: each.gap for each in plan if each.gap}


def bring_candidates(jobs: Sequence[Job], candidates: Sequence[Sequence[str]]) -> list[Job]:
    """The jobs, those of candidates that lie elsewhere with their digest and place. Raises ConfigError."""
    places = {cell: (digest, where) for cell, digest, where in candidates}
    for digest, _ in places.values():
        check_digest(digest)
    if unknown := sorted(set(places) - {job.cell.id for job in jobs}):
        known = name_some(job.cell.id for job in jobs)
        raise ConfigError(f"not compared here: {', '.join(unknown)}", "--candidate", known)
    made = []
    for job in jobs:
        digest, source = places.get(job.cell.id, ("", ""))
        made.append(replace(job, options=replace(job.options, digest=digest, source=source)))
    return made


def judge(comparison: Comparison, parts: Sequence[str], undecided: bool) -> ExitCode:
    """How a comparison ends: rejected where an engine failed at what was asked, inconclusive where it was not asked."""
    missing = [found for _, row, _, found in comparison.numbers if row.part in parts and isinstance(found, Missing)]
    if any(found.failed for found in missing):
        return ExitCode.REJECTED
    return ExitCode.INCONCLUSIVE if missing or undecided else ExitCode.ACCEPTED
