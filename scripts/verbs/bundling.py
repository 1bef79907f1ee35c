"""What owners of GPUs send: bundles, written at the end of a run, and checked by whoever is to believe them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.attest.keys import open_signer, read_public_key
from scripts.bundle.check import check_bundle
from scripts.bundle.write import check_request, write_bundle
from scripts.console import note, tell
from scripts.errors import ConfigError, ExitCode, HallmarkError, worst
from scripts.files import format_size
from scripts.pipeline import Bench, Job
from scripts.project import Project
from scripts.report.bundles import show_bundle
from scripts.verdict import EXIT_CODES


def bundle(root: Path, options: argparse.Namespace) -> int:
    """Check files that owners have sent; the worst of them counts. Runs nothing, and asks nobody."""
    project = Project.open(root)
    key = read_public_key(options.key) if options.key else None
    codes: list[ExitCode] = []
    for path in options.files:
        try:
            found = check_bundle(project, path, key)
        except HallmarkError as error:  # the other files are worth a look
            for problem in error.problems:
                tell(problem.lines("error: "), "red")
            codes.append(error.exit_code)
            continue
        show_bundle(path, found)
        codes.append(EXIT_CODES[found.verdict])
    return worst(codes)


def prepare_bundle(project: Project, jobs: Sequence[Job], options: argparse.Namespace) -> None:
    """Refuse, before a run, what no bundle could be written of. Raises ConfigError."""
    if options.bundle:
        check_request(jobs, options.bundle, options.by)
        open_signer(project.site)
    elif options.by:
        raise ConfigError("says who has seen it, and no bundle is asked for", "--by", "give --bundle FILE, too")


def keep_bundle(bench: Bench, job: Job, path: Path, by: str) -> ExitCode:
    """Write the bundle of a run, and say what it would be refused for; how that went."""
    try:
        written = write_bundle(bench, job, path, by)
        found = check_bundle(bench.project, path)
    except HallmarkError as error:  # what was decided stands
        for problem in error.problems:
            tell(problem.lines("no bundle was written: "))
        return error.exit_code
    size = format_size(path.stat().st_size)
    said = f"{written.owner} has seen {job.cell.id} {written.verdict}"
    note(f"{path} ({size}) says that {said}: read it before you send it")
    for each in found.results:
        if each.check in found.failed:
            note(f"it would be refused: {each.check}: {each.detail}")
    return ExitCode.INCONCLUSIVE if found.failed else ExitCode.ACCEPTED
