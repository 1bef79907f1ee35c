"""A project whose image `serve` the tests add rules to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.builders import write_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path)
