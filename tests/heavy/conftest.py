"""The fixtures of the integration tests, and time for what is heavy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import checkout, engine
from tests.integration.sandbox.conftest import sandbox

__all__ = ["checkout", "engine", "sandbox"]

TEST_S = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_S))
