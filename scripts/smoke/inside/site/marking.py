"""A plugin of pytest's, which lies beside it in the container: upstream's tests bear the marks of their file.

Marks tell a suite's own conftest what to leave out. vLLM's collects garbage after each test, unless it is marked
`skip_global_cleanup`. Standard library only.
"""

from __future__ import annotations

import json
import os
from pathlib import PurePosixPath
from typing import Any


def pytest_itemcollected(item: Any) -> None:
    """Put the marks of its file on a test. Its node id begins with the file's path, in the suite's package."""
    file = PurePosixPath(item.nodeid.partition("::")[0])
    for asked in json.loads(os.environ["HALLMARK_UPSTREAM"]):
        if file == PurePosixPath(file.parts[0], asked["file"]):
            for mark in asked["marks"]:
                item.add_marker(mark)
