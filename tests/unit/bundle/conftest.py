from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.bundle.write import write_bundle
from tests.unit.bundle import GPU, OWNER, World, add_scenarios, answering
from tests.unit.pipeline.lab import Lab


class Silent:
    """Stands in for pytest's capture, which lives no longer than a test."""

    def readouterr(self) -> Any:
        return SimpleNamespace(out="", err="")


def make_lab(root: Path, patch: pytest.MonkeyPatch) -> Lab:
    """A lab whose server goes through three scenarios."""
    lab = Lab(root, Silent(), patch)  # type: ignore[arg-type]
    add_scenarios(lab)
    lab.docker.smokes[GPU] = answering
    return lab


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, bytes]:
    """A lab in which a cell was run once, for all tests here: each looks at a copy of the file."""
    root = tmp_path_factory.mktemp("owner")
    with pytest.MonkeyPatch.context() as patch:
        lab = make_lab(root, patch)
        lab.run(GPU)
        [job] = lab.jobs(GPU)
        path = root / "bundle.json"
        write_bundle(lab.bench, job, path, OWNER)
    return lab, path.read_bytes()  # what was replaced is back: other tests watch a driver of their own


@pytest.fixture
def world(made: tuple[Lab, bytes], tmp_path: Path) -> World:
    return World(*made, tmp_path)


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab of its own, in which nothing was run."""
    return make_lab(tmp_path / "lab", monkeypatch)
