from __future__ import annotations

import pytest

from scripts.assemble.venv import is_reserved, scheme_folders, site_packages
from scripts.errors import ConfigError


def test_where_the_schemes_go() -> None:
    folders = scheme_folders("3.11", "odd_Tools")
    assert folders == {
        "purelib": "opt/venv/lib/python3.11/site-packages",
        "platlib": "opt/venv/lib/python3.11/site-packages",
        "scripts": "opt/venv/bin",
        "headers": "opt/venv/include/site/python3.11/odd_Tools",
        "data": "opt/venv",
    }


@pytest.mark.parametrize("python", ["3", "3.11.2", "2.7", "3.x", "../3.11", ""])
def test_a_python_that_is_none(python: str) -> None:
    with pytest.raises(ConfigError, match="not a version of Python"):
        site_packages(python)


@pytest.mark.parametrize(
    "path",
    [
        "pyvenv.cfg",
        "lib64",
        "lib64/x.so",
        "bin/python",
        "bin/python3",
        "bin/python3.11",
        "bin/activate",
        "bin/Activate.ps1",
        "bin/activate_this.py",
        "bin/activate.fish",
        "bin/deactivate.bat",
        "bin",
        "lib",
        "include",
        "bin/python/x",
    ],
)
def test_what_belongs_to_the_environment(path: str) -> None:
    assert is_reserved(f"opt/venv/{path}")


@pytest.mark.parametrize(
    "path",
    [
        "bin/activate-global-python-argcomplete",
        "bin/python-argcomplete-check",
        "bin/pythonize",
        "lib/libz.so",
        "bin/ninja",
        "share/pyvenv.cfg",
        "lib64x",
        "lib/python3.11/site-packages/bin",
    ],
)
def test_what_a_wheel_may_bring(path: str) -> None:
    assert not is_reserved(f"opt/venv/{path}")
