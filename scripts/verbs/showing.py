"""The verb that makes the catalogue."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from scripts.catalogue.gather import gather
from scripts.catalogue.write import check_output, write_catalogue
from scripts.console import note
from scripts.errors import ExitCode
from scripts.project import Project
from scripts.publish.stamp import name_repository


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
