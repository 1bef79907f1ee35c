"""Rules written into the invented project's image `serve`, and what reading them complains of."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.errors import ConfigError
from scripts.matrix import load_matrix

SERVE_TOML = "images/serve/image.toml"


def append(root: Path, text: str) -> Path:
    with (root / SERVE_TOML).open("a") as stream:
        stream.write(text)
    return root


def problems_of(root: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_matrix(root)
    return [" ".join(str(problem).split()) for problem in caught.value.problems]
