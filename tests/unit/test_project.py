"""A project is opened whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.model import BuildOptions
from scripts.project import Project
from tests.unit.builders import clear_site, edit, write_locked_project


@pytest.fixture(autouse=True)
def _site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clear_site(monkeypatch, tmp_path / "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_locked_project(tmp_path / "project")
    return tmp_path / "project"


def test_a_project_is_its_matrix_its_site_and_its_workspace(root: Path, tmp_path: Path) -> None:
    project = Project.open(root)
    assert list(project.matrix.images) == ["base", "serve", "train"]
    assert project.site.cache == tmp_path / "cache/hallmark"
    assert project.workspace.root == root and not project.workspace.folder.exists(), "opening writes nothing"


def test_a_mistake_of_the_site_or_of_the_checkout_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="the file is missing"):
        Project.open(root / "nothing")
    monkeypatch.setenv("HALLMARK_COMPRESSION", "xz")
    with pytest.raises(ConfigError, match="HALLMARK_COMPRESSION=xz"):
        Project.open(root)


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
@pytest.mark.parametrize("matrix_slims", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_what_a_build_depends_on_is_the_sites_the_matrixs_and_the_command_lines(
    compression: Any, matrix_slims: bool, asked: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_COMPRESSION", compression)
    edit(root / "matrix.toml", "version = 1\n", f"version = 1\nslim = {str(matrix_slims).lower()}\n")
    project = Project.open(root)
    assert project.build_options(slim=asked) == BuildOptions(compression, matrix_slims and asked)
    assert project.build_options() == project.build_options(slim=True)
