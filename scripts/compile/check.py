"""Whether a wheel is the one that a compile step was to make: its distribution, its version, and that it is sound."""

from __future__ import annotations

from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.assemble.wheel import read_wheel
from scripts.errors import BuildFailed, Undecided

MEND = "mend the component's build script"


def find_wheel(folder: Path, distribution: str, version: str, python: str, place: str) -> tuple[Path, str]:
    """The one wheel in a folder, and its full version. Raises BuildFailed for another, or one that is not sound.

    A local version (`+cu130`) may be added to `version`; `python` is the X.Y that it is for, `place` what the error
    names: the step's log.
    """
    found = sorted(folder.iterdir())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "nothing"
        raise BuildFailed(f"one wheel was to be made, and there is: {names}", place, MEND)
    try:
        made = read_wheel(found[0], python)
    except Undecided as error:
        causes = "; ".join(f"{problem.place}: {problem.cause}" for problem in error.problems)
        raise BuildFailed(f"no sound wheel was made: {causes}", place, MEND) from error
    if made.name != canonicalize_name(distribution) or Version(made.version).public != Version(version).public:
        raise BuildFailed(f"{distribution} {version} was to be made, and this is {found[0].name}", place, MEND)
    return found[0], made.version
