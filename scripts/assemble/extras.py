"""The last layer of an image: its environment's own files, its links, and the files that two distributions dispute."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.assemble.layers import Distribution
from scripts.assemble.links import make_links
from scripts.assemble.tree import Entry, make_file, make_symlink
from scripts.assemble.venv import BIN, ROOT
from scripts.matrix import Link


def make_extras(
    distributions: Sequence[Distribution], winners: Sequence[Entry], links: Sequence[Link], build: str, place: str
) -> list[Entry]:
    """The entries of the last layer: `winners` are files of others that are to be on top, `build` is Python X.Y.Z.

    Raises ConfigError for a link that cannot be made; `place` is the file that asks for it.
    """
    files = {entry.path for item in distributions for entry in item.files.entries}
    return [*_environment(build), *winners, *make_links(links, files, place)]


def _environment(build: str) -> list[Entry]:
    """What makes a folder a virtual environment of the image's interpreter, as `python3 -m venv` would write it."""
    python = ".".join(build.split(".")[:2])
    settings = {
        "home": "/usr/bin",
        "include-system-site-packages": "false",
        "version": build,
        "executable": f"/usr/bin/python{python}",
    }
    text = "".join(f"{key} = {value}\n" for key, value in settings.items())
    return [
        make_file(f"{ROOT}/pyvenv.cfg", text.encode()),
        make_symlink(f"{ROOT}/lib64", "lib"),
        make_symlink(f"{BIN}/python3", "/usr/bin/python3"),
        make_symlink(f"{BIN}/python", "python3"),
        make_symlink(f"{BIN}/python{python}", "python3"),
    ]
