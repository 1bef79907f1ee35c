"""The verbs over what was published: a cell out of service, and a registry without what nobody needs."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from scripts.bundle.case import OWNERS
from scripts.bundle.owners import merge_entries, read_owners
from scripts.console import note
from scripts.engines import find_running
from scripts.errors import ConfigError, ExitCode, Undecided
from scripts.feed import Entry, read_feed
from scripts.garbage import check_clock, delete, find_garbage
from scripts.pipeline import Options, Stage, make_jobs, service
from scripts.plan import Selection, make_plan, require_buildable
from scripts.project import Project
from scripts.publish.stamp import name_repository
from scripts.registry.client import Registry
from scripts.report.garbage import show_garbage


def retire(root: Path, options: argparse.Namespace) -> int:
    """Take a cell out of service, or put it back, and say why in the feed."""
    project = Project.open(root)
    cells = make_plan(project.matrix, Selection([options.cell]))
    if len(cells) != 1:
        names = ", ".join(planned.cell.id for planned in cells)
        raise ConfigError(f"one cell at a time, and these were selected: {names}", options.cell, "name one")
    require_buildable(cells)
    if not options.reason.strip():
        raise ConfigError("a reason is what people read where the tag was", "--reason", "say why, in a sentence")
    registry = Registry() if project.site.registry else None
    if options.undo:
        done = service.restore(project, cells[0], options.reason, registry)
        done.append(f"{cells[0].cell.id} is in service again: what is accepted of it gets its tags")
    else:
        done = service.retire(project, cells[0], options.reason, registry, find_running(project))
        done.append(f"{cells[0].cell.id} is retired; its tags with a build id stay")
    if not registry:
        done.append("no registry was asked: HALLMARK_REGISTRY is not set")
    for line in done:
        note(line)
    return ExitCode.ACCEPTED


def gc(root: Path, options: argparse.Namespace) -> int:
    """Show what a registry may lose, and with `--delete` remove it."""
    project = Project.open(root)
    if not project.site.registry:
        raise ConfigError("there is no registry to look at", "gc", "set HALLMARK_REGISTRY")
    entries = _read_all(project, [project.workspace.feed, *options.feed])
    plan = make_plan(project.matrix)
    ready = [planned for planned in plan if not planned.gap]
    jobs = make_jobs(project.matrix, ready, project.build_options(), Stage.PUBLISH, Options())
    builds = {job.step.build_id for job in jobs}
    owner = {planned.cell.id: planned.cell.image for planned in plan}
    registry, found, now = Registry(), [], time.time()
    for image in dict.fromkeys(owner.values()) if entries else ():
        repository = name_repository(project.site.registry, image)
        check_clock(registry, repository, entries, now)
        # Of a cell that the matrix has no more nobody can say which image it was of: it is looked for everywhere.
        mine = partial(lambda image, cell: owner.get(cell, image) == image, image)
        found.append(find_garbage(registry, repository, entries, mine, builds, now))
    show_garbage(found)
    if not options.delete:
        note("nothing was deleted: --delete removes these")
        return ExitCode.ACCEPTED
    for each in found:
        for leftover in each.leftovers:
            delete(registry, each.repository, leftover)
            note(f"deleted: {each.repository}@{leftover.digest}")
    if any(each.leftovers for each in found):
        note("the registry frees the bytes when it next collects its own garbage")
    return ExitCode.ACCEPTED


def _read_all(project: Project, feeds: list[Path]) -> list[Entry]:
    """Every line of every feed, and what owners have seen. Raises Undecided where one of them cannot be read."""
    entries: list[Entry] = []
    step = "nothing was deleted; mend the line, or run this with the version that wrote it"
    for path in feeds:
        if path != project.workspace.feed and not path.is_file():
            raise ConfigError("there is no such feed", str(path), "give a feed.jsonl")
        read, unread = read_feed(path)
        if unread:
            raise Undecided(f"{unread} lines cannot be read, and what they name is not known", str(path), step)
        entries += read
    evidence = project.matrix.root / "docs" / "evidence"
    if not (evidence / OWNERS).is_dir():
        return entries
    runs, unreadable = read_owners(project, [evidence])
    if unreadable:
        raise Undecided(f"not read: {unreadable[0]}", str(evidence), step)
    return merge_entries(entries, runs)
