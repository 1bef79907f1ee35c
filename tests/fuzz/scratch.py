"""A folder that is there as long as the process runs: what is made of it is kept between inputs."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def make_folder() -> Path:
    """A new, empty folder, which goes when the process ends."""
    folder = tempfile.mkdtemp(prefix="hallmark-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
