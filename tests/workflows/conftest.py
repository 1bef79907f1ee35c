from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.cells import make_cells
from tests.workflows.machine import World

CPU, GPU, COMPILED = "pytorch-cpu", "pytorch-cu130-h200-wheel", "vllm-cu130-5090"
WHOLE_S = 600  # seconds for a test with the runs that it is the first to need: dozens of small processes

Make = Callable[..., World]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(WHOLE_S))


@pytest.fixture(scope="session")
def cells() -> dict[str, Any]:
    return make_cells(CPU, GPU, COMPILED)


@pytest.fixture(scope="session")
def make_world(cells: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A new world, in which commands answer as they are told."""

    def make(**answers: Any) -> World:
        folder = tmp_path_factory.mktemp("world") / "the world"
        return World(folder, {key.replace("__", " ").replace("_", "-"): value for key, value in answers.items()}, cells)

    return make
