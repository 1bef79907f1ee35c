"""The virtual environment of an image: where a wheel's files go in it, and what of it no wheel may touch."""

from __future__ import annotations

import re

from scripts.assemble.tree import parents
from scripts.errors import ConfigError

ROOT = "opt/venv"
BIN = f"{ROOT}/bin"
INTERPRETER = f"/{BIN}/python"
_VERSION = re.compile(r"3\.[0-9]{1,3}")
# The environment's own: its marker, its interpreter, the scripts that activate it, the link beside `lib`.
_OWN = re.compile(r"pyvenv\.cfg|lib64|bin/python[\d.]*|bin/(de)?activate(\.\w+|_this\.py)?", re.IGNORECASE)
_FOLDERS = ("bin", "include", "lib", "share")


def site_packages(python: str) -> str:
    """The folder of modules for Python X.Y, without a slash at either end. Raises ConfigError for another `python`."""
    if not _VERSION.fullmatch(python):
        raise ConfigError(f"`{python}` is not a version of Python such as 3.11", "python", "give two numbers")
    return f"{ROOT}/lib/python{python}/site-packages"


def scheme_folders(python: str, name: str) -> dict[str, str]:
    """Where each of the schemes of a wheel goes; `name` is the distribution's, for its headers."""
    modules = site_packages(python)
    return {
        "purelib": modules,
        "platlib": modules,
        "scripts": BIN,
        "headers": f"{ROOT}/include/site/python{python}/{name}",
        "data": ROOT,
    }


def is_reserved(path: str) -> bool:
    """Whether a path of the image is the environment's own, or a file in the place of one of its folders."""
    inside = path.removeprefix(f"{ROOT}/")
    return inside in _FOLDERS or any(_OWN.fullmatch(part) for part in [inside, *parents(inside)])
