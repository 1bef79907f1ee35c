"""The verbs that show what is known: the catalogue of all cells, and the history of some."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from scripts.bundle.case import OWNERS
from scripts.bundle.owners import merge_entries, read_owners
from scripts.catalogue.gather import gather
from scripts.catalogue.write import check_output, write_catalogue
from scripts.console import note, show_document
from scripts.errors import ExitCode
from scripts.feed import read_feed, trace_stamps
from scripts.project import Project
from scripts.publish.stamp import name_repository
from scripts.report.history import show_history
from scripts.text import for_json
from scripts.workspace import Workspace


def catalogue(root: Path, options: argparse.Namespace) -> int:
    """Write the catalogue of all that is known of every cell. Runs nothing, and asks nobody."""
    if options.registry:
        name_repository(options.registry, "image")  # a name that no registry could have is refused
    check_output(options.output)
    project = Project.open(root)
    folders = options.evidence or [root / "docs" / "evidence"]
    found = gather(project, folders, options.feed, options.registry.rstrip("/"))
    files = write_catalogue(found, options.output)
    for line in found.unread:
        note(f"not read: {line}")
    states = Counter(str(page.state) for page in found.pages)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    note(f"{len(found.pages)} cells ({counted}): {files[0]}")
    return ExitCode.ACCEPTED


def history(root: Path, options: argparse.Namespace) -> int:
    """Show the verdicts of a feed, and what each did to its cell's stamp. Runs nothing, and asks nobody."""
    entries, torn = read_feed(options.feed or Workspace(root).feed)
    owners = root / "docs" / "evidence"
    if options.feed is None and (owners / OWNERS).is_dir():
        runs, unread = read_owners(Project.open(root), [owners])
        entries = merge_entries(entries, runs)
        for line in unread:
            note(f"not shown: {line}")
    patterns = options.patterns or ["*"]
    traced = [each for each in trace_stamps(entries) if any(fnmatchcase(each[0].cell, pattern) for pattern in patterns)]
    if torn:
        note(f"{torn} of the feed's lines cannot be read")
    if options.json:
        show_document(for_json([asdict(entry) | {"stamp": done} for entry, done in traced], indent=2))
    elif traced:
        show_history(traced)
    else:
        note(f"there is no verdict of {', '.join(patterns)} in the feed")
    return ExitCode.ACCEPTED
