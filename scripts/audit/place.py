"""Where a library lies among what is installed: the path that rules speak of, and that wheels have for it.

A rule is about a file of a distribution. Of a path in an image or a folder, what counts is the part in the folder of
packages, or in the environment that this folder belongs to; a file elsewhere has its whole path. The end of a path
alone says nothing: `other/torch/lib/x.so` is no library of torch's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PACKAGES = re.compile(r"(?:^|/)(?:site|dist)-packages/")
_ENVIRONMENT = re.compile(r"(|.*?/)lib(?:64)?/python3[^/]*/(?:site|dist)-packages/")
_WHEEL = re.compile(r"[^/]+\.whl/")
# What a wheel installs into the environment rather than among the packages; without a name, where pip would put it.
_DATA = re.compile(r"[^/]+\.data/(?:data|purelib|platlib)/")


def find_places(paths: Iterable[str]) -> dict[str, str]:
    """The place of each path of one subject (an image, a folder, a wheel)."""
    paths = list(paths)
    environments = {match[1] for path in paths if (match := _ENVIRONMENT.match(path))}
    roots = sorted(environments, key=len, reverse=True)
    return {path: _find_place(path, roots) for path in paths}


def _find_place(path: str, roots: list[str]) -> str:
    if wheel := _WHEEL.search(path):  # a wheel in a folder of wheels
        path = path[wheel.end() :]
    if packages := _PACKAGES.search(path):
        return path[packages.end() :]
    root = next((root for root in roots if path.startswith(root)), "")
    path = path[len(root) :]
    data = _DATA.match(path)
    return path[data.end() :] if data else path
