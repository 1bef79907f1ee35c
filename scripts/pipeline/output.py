"""Candidates written out, to be carried to where their GPU is: a layout's folder, or one file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from scripts.console import note
from scripts.console import step as announce
from scripts.errors import ConfigError
from scripts.files import format_size, naming_disk_full
from scripts.oci.archive import ARCHIVE, write_archive
from scripts.oci.layout import LAYOUT_FILE, Layout, make_index
from scripts.pipeline.bench import Bench
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.job import Job
from scripts.pipeline.obtain import obtain_layout


def check_output(path: Path) -> None:
    """Raise ConfigError for a folder that holds something, before the hours of work."""
    if path.suffix == ARCHIVE:
        if path.is_dir():
            raise ConfigError("is a folder", str(path), "give a file's name")
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError("is there already, and is not an empty folder", str(path), "give another name")


def write_output(bench: Bench, jobs: Sequence[Job], path: Path) -> None:
    """Write the candidates of jobs that were built into a new folder, or as an archive where the name ends in `.tar`.

    They are one layout, which has what they share once. Raises Undecided where one is damaged, or the disk is full.
    """
    layouts: list[Layout] = []
    for job in {job.step.build_id: job for job in jobs}.values():  # cells may share a candidate
        candidate = read_candidate(bench.workspace, job.step.build_id)
        assert candidate, "it was built just now"
        layouts.append(obtain_layout(bench, job.step, candidate, may_build=not job.options.digest))
        note(f"{path}: {job.step.name}, digest {candidate.digest}")
    with announce(str(path), "write"):
        if path.suffix == ARCHIVE:
            write_archive(layouts, path)
        else:
            _write_folder(layouts, path)
    sizes = {blob.digest: blob.size for layout in layouts for blob in layout.blobs}
    note(f"{path}: {format_size(sum(sizes.values()))}")


def _write_folder(layouts: Sequence[Layout], path: Path) -> None:
    fresh = path.absolute().with_name(f".{path.absolute().name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    with naming_disk_full(fresh):
        for layout in layouts:
            for blob in layout.blobs:
                # Not a second name: whoever changes what they were given would change what images are made of.
                (fresh / blob.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(layout.folder / blob.path, fresh / blob.path)
        (fresh / "oci-layout").write_bytes(LAYOUT_FILE)
        (fresh / "index.json").write_bytes(make_index([layout.manifest for layout in layouts]))
    fresh.replace(path)
