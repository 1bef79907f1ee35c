"""A checkout's files by the folders that they lie in: what cannot be looked into is an error, and never nothing."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

from scripts.errors import Problem

MEND = "make it readable, or take it away"


def find_files(root: Path, pattern: str, problems: list[Problem]) -> list[Path]:
    """What lies under a folder by a pattern such as `images/*/image.toml`, in order.

    Noted in `problems` is each folder on the way that cannot be looked into, and each link that leads nowhere.
    """
    found = [root]
    for part in pattern.split("/"):
        found = [folder / name for folder in found for name in _names(root, folder, part, problems)]
    return found


def _names(root: Path, folder: Path, part: str, problems: list[Problem]) -> list[str]:
    try:
        if "*" in part:
            return sorted(each.name for each in folder.iterdir() if fnmatchcase(each.name, part))
        os.lstat(folder / part)
        return [part]
    except NotADirectoryError:  # a file beside the folders
        return []
    except FileNotFoundError as error:
        if not folder.is_symlink():
            return []
        fault: OSError = error
    except OSError as error:
        fault = error
    place = folder.relative_to(root).as_posix()
    problem = Problem(f"cannot be looked into: {fault.strerror}", place, MEND)
    if problem not in problems:  # what else lies there was looked for before
        problems.append(problem)
    return []
