from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.errors import ConfigError, HallmarkError, Undecided
from scripts.oci.archive import extract_archive
from scripts.oci.layout import Layout
from scripts.pipeline import Stage
from scripts.pipeline.output import check_output
from tests.unit.builders import write
from tests.unit.pipeline.lab import Lab, damage, list_files

OTHER = "sha256:" + "9" * 64
CPU, GPU, PRO = "serve-cpu", "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"


def test_a_folder_is_the_candidates_layout(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    row = lab.write(CPU, path=tmp_path / "away/here")[CPU]
    written = Layout.open(tmp_path / "away/here")
    written.verify()
    assert written.digest == row.digest
    assert list_files(tmp_path / "away/here") == list_files(lab.layout(CPU).folder)
    assert [path.name for path in (tmp_path / "away").iterdir()] == ["here"]


def test_an_archive_is_the_candidate_and_always_the_same_bytes(lab: Lab, tmp_path: Path) -> None:
    row = lab.write(CPU, path=tmp_path / "a.tar")[CPU]
    lab.write(CPU, path=tmp_path / "b.tar")
    layout = extract_archive(tmp_path / "a.tar", tmp_path / "out")
    layout.verify()
    assert layout.digest == row.digest
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def read_folder(path: Path, folder: Path, digest: str = "") -> Layout:
    return Layout.open(path, digest)


FORMS = pytest.mark.parametrize(("name", "read"), [("here", read_folder), ("here.tar", extract_archive)])
Read = Callable[[Path, Path, str], Layout]


@FORMS
def test_cells_of_one_candidate_write_it_once(name: str, read: Read, lab: Lab, tmp_path: Path) -> None:
    digests = {row.digest for row in lab.write(GPU, PRO, path=tmp_path / name).values()}
    assert {read(tmp_path / name, tmp_path / "out", "").digest} == digests


@FORMS
def test_several_candidates_are_written_together_and_what_they_share_once(
    name: str, read: Read, lab: Lab, tmp_path: Path
) -> None:
    rows = lab.write(CPU, GPU, path=tmp_path / name)
    layouts = {cell: read(tmp_path / name, tmp_path / f"out/{cell}", rows[cell].digest) for cell in (CPU, GPU)}
    for cell, layout in layouts.items():
        layout.verify()
        assert (layout.digest, layout.layers) == (rows[cell].digest, lab.layout(cell).layers)
    parts = [blob.size for layout in layouts.values() for blob in layout.blobs]
    once = {blob.digest: blob.size for layout in layouts.values() for blob in layout.blobs}
    assert sum(once.values()) < sum(parts), "these share nothing"
    written = tmp_path / name
    bytes_written = written.stat().st_size if written.is_file() else sum(map(len, list_files(written).values()))
    assert bytes_written < sum(once.values()) + 1024 * (3 * len(once) + 30)
    with pytest.raises(HallmarkError):
        read(written, tmp_path / "none", "")  # which of the two?
    with pytest.raises(HallmarkError):
        read(written, tmp_path / "none", OTHER)
    assert not (tmp_path / "none").exists()


def test_a_damaged_candidate_leaves_no_archive(lab: Lab, tmp_path: Path) -> None:
    lab.run(CPU, last=Stage.BUILD)
    damage(lab.layout(CPU))
    with pytest.raises(Undecided):
        lab.write(CPU, path=tmp_path / "away/a.tar")
    assert list((tmp_path / "away").iterdir()) == []


def test_new_names_empty_folders_and_older_archives_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "old.tar", "x")
    for name in ("new", "new.tar", "empty", "old.tar"):
        check_output(tmp_path / name)


@pytest.mark.parametrize("name", ["full", "file", "folder.tar"])
def test_what_would_be_overwritten_is_noticed_before_the_work(name: str, tmp_path: Path) -> None:
    write(tmp_path / "full/x", "")
    write(tmp_path / "file", "")
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(ConfigError):
        check_output(tmp_path / name)
