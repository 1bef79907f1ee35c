from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.catalogue.made import Checkout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    for name in [name for name in os.environ if name.startswith("HALLMARK_")]:
        monkeypatch.delenv(name)
    return Checkout(tmp_path / "checkout")
