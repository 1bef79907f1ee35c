from __future__ import annotations

from pathlib import Path

import pytest

from scripts.assemble.extras import make_extras
from scripts.assemble.tree import make_file
from scripts.errors import ConfigError
from scripts.matrix import Link
from tests.unit.assemble.kit import MODULES, make_distribution

PLACE = "images/serve/image.toml"


def test_the_last_layer_makes_the_folder_an_environment(tmp_path: Path) -> None:
    winner = make_file(f"{MODULES}/a.py", b"kept")
    one = make_distribution(tmp_path, "one", a_py=b"a")
    found = make_extras([one], [winner], [Link("/usr/local/a.py", f"/{MODULES}/a.py", "why")], "3.11.2", PLACE)
    assert [entry.path for entry in found] == [
        "opt/venv/pyvenv.cfg",
        "opt/venv/lib64",
        "opt/venv/bin/python3",
        "opt/venv/bin/python",
        "opt/venv/bin/python3.11",
        f"{MODULES}/a.py",
        "usr/local/a.py",
    ]
    assert b"version = 3.11.2\n" in bytes(found[0].read())
    assert {entry.target for entry in found[1:5]} == {"lib", "/usr/bin/python3", "python3"}


def test_a_link_to_what_no_distribution_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{PLACE}: the link /usr/local/b would lead nowhere"):
        make_extras([], [], [Link("/usr/local/b", "/opt/venv/b", "why")], "3.11.2", PLACE)
