from __future__ import annotations

from pathlib import Path

import pytest

from scripts.errors import ConfigError, ExitCode
from scripts.oci.archive import extract_archive
from scripts.oci.layout import Layout
from scripts.pipeline import Stage
from scripts.pipeline.output import check_output
from tests.unit.builders import write
from tests.unit.pipeline.lab import Lab, damage, list_files

CPU, GPU, PRO = "serve-cpu", "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"


def test_a_folder_is_the_candidates_layout(lab: Lab, tmp_path: Path) -> None:
    row = lab.run(CPU, last=Stage.BUILD, output=tmp_path / "away/here")[CPU]
    written = Layout.open(tmp_path / "away/here")
    written.verify()
    assert written.digest == row.digest
    assert list_files(tmp_path / "away/here") == list_files(lab.layout(CPU).folder)
    assert [path.name for path in (tmp_path / "away").iterdir()] == ["here"]


def test_an_archive_is_the_candidate_and_always_the_same_bytes(lab: Lab, tmp_path: Path) -> None:
    row = lab.run(CPU, last=Stage.BUILD, output=tmp_path / "a.tar")[CPU]
    lab.run(CPU, last=Stage.BUILD, output=tmp_path / "b.tar")
    layout = extract_archive(tmp_path / "a.tar", tmp_path / "out")
    layout.verify()
    assert layout.digest == row.digest
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("name", ["here", "here.tar"])
def test_cells_of_one_candidate_write_it_once(name: str, jobs: int, lab: Lab, tmp_path: Path) -> None:
    rows = lab.run(GPU, PRO, last=Stage.BUILD, jobs=jobs, output=tmp_path / name)
    assert {row.exit_code for row in rows.values()} == {ExitCode.ACCEPTED}
    assert (tmp_path / name).exists()


def test_what_the_audit_rejects_is_not_written(lab: Lab, tmp_path: Path) -> None:
    lab.write_locks("90")
    lab.run(GPU, last=Stage.BUILD, output=tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_damaged_candidate_leaves_no_archive(lab: Lab, tmp_path: Path) -> None:
    lab.run(CPU, last=Stage.BUILD)
    damage(lab.layout(CPU))
    row = lab.run(CPU, last=Stage.BUILD, output=tmp_path / "away/a.tar")[CPU]
    assert row.exit_code is ExitCode.INCONCLUSIVE and list((tmp_path / "away").iterdir()) == []


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
