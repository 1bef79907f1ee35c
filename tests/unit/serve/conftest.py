from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.pipeline.lab import Lab
from tests.unit.serve.made import Serving


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, capsys, monkeypatch)


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    return Serving(tmp_path, monkeypatch)
