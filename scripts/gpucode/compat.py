"""Who can run what: NVIDIA's rules of compatibility between GPU code, GPUs and drivers, each with its source.

A GPU is given by its compute capability (`12.0`), code by its architecture and suffix (`120`, `120a`, `120f`). The
rules are those for desktop and data-centre GPUs; NVIDIA promises nothing between these and Tegra.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from scripts.gpucode.fatbin import Entry, Kind

Support = Literal["native", "jit", "none"]

_ARCH = re.compile(r"([1-9][0-9]*)([0-9])([af]?)", re.ASCII)
_CAPABILITY = re.compile(r"([1-9][0-9]*)\.([0-9])", re.ASCII)

# A family is a major version, with one exception: 10.1 (later renamed to 11.0) shares nothing with 10.0 and 10.3.
# Source: PTX ISA, `.target`, the table of family-specific architectures.
_FAMILIES_OF_ONE = ((10, 1),)

# CUDA Toolkit Release Notes, table "CUDA Toolkit and Corresponding Driver Versions", Linux x86_64.
_DRIVER_FLOORS = {
    "11.0": "450.36.06",
    "11.1": "455.23",
    "11.2": "460.27.03",
    "11.3": "465.19.01",
    "11.4": "470.42.01",
    "11.5": "495.29.05",
    "11.6": "510.39.01",
    "11.7": "515.43.04",
    "11.8": "520.61.05",
    "12.0": "525.60.13",
    "12.1": "530.30.02",
    "12.2": "535.54.03",
    "12.3": "545.23.06",
    "12.4": "550.54.14",
    "12.5": "555.42.02",
    "12.6": "560.28.03",
    "12.8": "570.26",
    "12.8.1": "570.124.06",
    "12.9": "575.51.03",
    "12.9.1": "575.57.08",
    "13.0": "580.65.06",
    "13.0.1": "580.82.07",
    "13.0.2": "580.95.05",
    "13.1": "590.44.01",
    "13.2": "595.45.04",
}

# PTX ISA, "Release Notes", table "PTX Release History".
_PTX_TOOLKITS = {f"7.{minor}": f"11.{minor}" for minor in range(9)} | {
    "8.0": "12.0",
    "8.1": "12.1",
    "8.2": "12.2",
    "8.3": "12.3",
    "8.4": "12.4",
    "8.5": "12.5",
    "8.7": "12.8",
    "8.8": "12.9",
    "9.0": "13.0",
    "9.1": "13.1",
    "9.2": "13.2",
}

# CUDA Toolkit Release Notes, "New Features" of each: the first whose compilers know a compute capability.
_FIRST_TOOLKITS = {"8.9": "11.8", "9.0": "11.8", "10.0": "12.8", "10.3": "12.9", "12.0": "12.8", "12.1": "12.9"}


def runs_on(arch: str, kind: Kind, compute_capability: str) -> Support:
    """Whether a GPU runs this code as it is, after the driver compiled it, or not at all.

    - SASS without suffix: the same major version and a minor version at least as high. (Blackwell Compatibility Guide,
      "Application Compatibility on Blackwell Architecture".)
    - PTX without suffix: every compute capability at least as high. (CUDA Programming Guide, "PTX Compatibility".)
    - Suffix `a`, SASS and PTX alike: exactly this compute capability. (CUDA Programming Guide, "Architecture-Specific
      Features"; CUDA 12.0 on.)
    - Suffix `f`, SASS and PTX alike: the same family, and a minor version at least as high. (CUDA Programming Guide,
      "Family-Specific Features"; CUDA 12.9 on.)

    Whether `jit` succeeds is also a question of the driver: see `jit_driver_floor`. Raises ValueError for an
    architecture or a compute capability that is not one.
    """
    code, gpu = _ARCH.fullmatch(arch), _CAPABILITY.fullmatch(compute_capability)
    if not code:
        raise ValueError(f"`{arch}` is not an architecture such as 90, 90a or 120f")
    if not gpu:
        raise ValueError(f"`{compute_capability}` is not a compute capability such as 9.0 or 12.0")
    made_for = (int(code[1]), int(code[2]))
    present = (int(gpu[1]), int(gpu[2]))
    if kind == "other":
        return "none"
    if code[3] == "a":
        fits = made_for == present
    elif code[3] == "f":
        fits = made_for <= present and _family(made_for) == _family(present)
    else:
        fits = made_for <= present and (kind == "ptx" or made_for[0] == present[0])
    if not fits:
        return "none"
    return "native" if kind == "sass" else "jit"


def find_usable(entries: Sequence[Entry], compute_capability: str) -> tuple[Support, list[int]]:
    """How a GPU runs a container, and the positions of the entries that its driver would choose among.

    The driver takes machine code before PTX, and the newest that fits: the native entries of the highest architecture,
    whatever their suffix, or else the PTX of the highest that it can compile, or none. An entry of no bytes is no code,
    whatever it is said to be. Raises ValueError as `runs_on`.
    """
    support = [_runs(entry, compute_capability) for entry in entries]
    kinds: tuple[Support, ...] = ("native", "jit")
    for kind in kinds:
        fitting = [position for position, how in enumerate(support) if how == kind]
        if fitting:
            best = max(_number(entries[position]) for position in fitting)
            return kind, [position for position in fitting if _number(entries[position]) == best]
    return "none", []


def _runs(entry: Entry, compute_capability: str) -> Support:
    support = runs_on(entry.arch, entry.kind, compute_capability)
    return support if entry.stored_size and entry.size else "none"


def _number(entry: Entry) -> int:
    return int(entry.arch.rstrip("af"))


def _family(capability: tuple[int, int]) -> tuple[int, ...]:
    return capability if capability in _FAMILIES_OF_ONE else capability[:1]


def jit_driver_floor(toolkit: str) -> str:
    """The oldest Linux driver that compiles the PTX which a CUDA toolkit (`12.8`, `13.0.2`) wrote.

    It is the driver that came with the toolkit: minor-version compatibility, by which older drivers run a toolkit's
    SASS, does not cover PTX, and they answer error 222, "the provided PTX was compiled with an unsupported toolchain".
    (CUDA Compatibility, "Minor Version Compatibility", "Application Considerations".) Raises ValueError for a toolkit
    that is not in the table.
    """
    try:
        return _DRIVER_FLOORS[toolkit.removesuffix(".0") if toolkit.count(".") > 1 else toolkit]
    except KeyError:
        raise ValueError(f"no driver floor is known for CUDA {toolkit}; known: {', '.join(_DRIVER_FLOORS)}") from None


def toolkit_of_ptx(version: str) -> str:
    """The CUDA toolkit that introduced a version of PTX (`8.7`): any driver at least as new compiles it.

    Raises ValueError for a version that is not in the table.
    """
    try:
        return _PTX_TOOLKITS[version]
    except KeyError:
        raise ValueError(f"no toolkit is known for PTX {version}; known: {', '.join(_PTX_TOOLKITS)}") from None


def toolkit_of_capability(compute_capability: str) -> str:
    """The first CUDA toolkit that compiles for a compute capability (`12.0`): older builds have nothing native for it.

    Raises ValueError for a compute capability that is not in the table.
    """
    try:
        return _FIRST_TOOLKITS[compute_capability]
    except KeyError:
        known = ", ".join(_FIRST_TOOLKITS)
        raise ValueError(f"no toolkit is known for compute capability {compute_capability}; known: {known}") from None
