"""A candidate written out, to be carried to where its GPU is: a layout's folder, or one file."""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts.console import note
from scripts.console import step as announce
from scripts.errors import BuildFailed, ConfigError
from scripts.files import format_size, naming_disk_full
from scripts.oci.archive import write_archive
from scripts.oci.layout import Layout
from scripts.pipeline.bench import Bench
from scripts.pipeline.candidate import Candidate
from scripts.pipeline.job import Job
from scripts.pipeline.obtain import obtain_layout

ARCHIVE = ".tar"


def check_output(path: Path) -> None:
    """Raise ConfigError for a folder that holds something, before the hours of work."""
    if path.suffix == ARCHIVE:
        if path.is_dir():
            raise ConfigError("is a folder", str(path), "give a file's name")
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError("is there already, and is not an empty folder", str(path), "give another name")


def write_output(bench: Bench, job: Job, candidate: Candidate, path: Path) -> None:
    """Write a candidate's layout into a new folder, or as an archive where the name ends in `.tar`.

    Cells of one candidate write the same: who comes second finds it there.
    """
    layout = obtain_layout(bench, job.step, candidate, may_build=not job.options.digest)
    with bench.workspace.claim(f"output-{job.step.build_id}"), announce(job.step.name, "write"):
        if path.suffix == ARCHIVE:
            write_archive(layout, path)
        elif not _holds(path, candidate.digest):
            fresh = path.absolute().with_name(f".{path.absolute().name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            for file in (found for found in layout.folder.rglob("*") if found.is_file()):
                _copy(file, fresh / file.relative_to(layout.folder))
            fresh.replace(path)
    note(f"{path}: {format_size(candidate.size)}, digest {candidate.digest}")


def _copy(source: Path, destination: Path) -> None:
    # Not a second name: whoever changes what they were given would change what images are made of.
    destination.parent.mkdir(parents=True, exist_ok=True)
    with naming_disk_full(destination):
        shutil.copyfile(source, destination)


def _holds(path: Path, digest: str) -> bool:
    try:
        return Layout.open(path).digest == digest
    except BuildFailed:
        return False
