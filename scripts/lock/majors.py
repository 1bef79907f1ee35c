"""Which major release of CUDA a distribution is for, as far as its name and version tell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.version import InvalidVersion, Version

from scripts.errors import ConfigError, Problem
from scripts.lock.lockfile import RELOCK
from scripts.matrix import OtherCuda
from scripts.model import LockedFile

# `nvidia-cudnn-cu13`, `cupy-cuda12x`, `nvshmem4py-cu13`; in a local version `cu128` or `cu13`.
_SUFFIX = re.compile(r"-(?:cu|cuda)([0-9]{2})(?:[0-9]|x)?$")
_LOCAL = re.compile(r"^cu([0-9]{2})[0-9]?$")
# These count as CUDA does: 13.0.88 is of CUDA 13.
_NUMBERED = re.compile(r"cuda-(python|bindings|toolkit)|nvidia-(cuda-.*|cublas|nvcc|nvjitlink|nvtx|nvvm)")
# These have versions of their own. Up to CUDA 12 their names end in `-cu12`; without that they are of CUDA 13.
_UNSUFFIXED = re.compile(r"nvidia-(cufft|cufile|curand|cusolver|cusparse|npp|nvfatbin|nvjpeg)")
_UNSUFFIXED_MAJOR = 13


def find_other_majors(
    line: str, files: Sequence[LockedFile], rules: Sequence[OtherCuda], place: str = ""
) -> list[Problem]:
    """Distributions of an image of this CUDA line (`cpu`: of none) that are for another major release.

    Nothing is a problem that a rule names; a name in a rule that excuses nothing is one. `place` is said of each.
    """
    expected = None if line == "cpu" else Version(line).major
    others = {file.name: (file, major) for file in files if (major := find_major(file)) not in (None, expected)}
    excused = {name for rule in rules for name in rule.distributions}
    here = "this image has none" if expected is None else f"the others are for CUDA {expected}"
    problems = [
        Problem(
            f"{name} {file.version} is for CUDA {major}, and {here}",
            place,
            "pin what is for the same CUDA, or add an [[other-cuda]] to image.toml that says why it may be there",
        )
        for name, (file, major) in sorted(others.items())
        if name not in excused
    ]
    return problems + [
        Problem(
            f"`{name}` is not there, or not of another CUDA",
            ": ".join(part for part in (place, "[[other-cuda]]") if part),
            "correct it, or delete it",
        )
        for name in sorted(excused - set(others))
    ]


def find_major(file: LockedFile) -> int | None:
    """The major release of CUDA that a wheel is for; None where its name and version do not tell."""
    if found := _SUFFIX.search(file.name):
        return int(found[1])
    try:
        version = Version(file.version)
    except InvalidVersion as error:
        raise ConfigError(str(error), file.file, RELOCK) from error
    for part in (version.local or "").split("."):
        if found := _LOCAL.match(part):
            return int(found[1])
    if _NUMBERED.fullmatch(file.name):
        return version.major
    return _UNSUFFIXED_MAJOR if _UNSUFFIXED.fullmatch(file.name) else None
