"""What a failed compile step has to say: the lines that explain it, and for known failures what to do about them."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST = 25  # lines that an error quotes
WIDEST = 300  # characters of each: the command of a unit has thousands
AROUND = 2  # lines before and after each that tells of an error, where not all can be quoted
_UNIT_FAILED = re.compile(r"^FAILED: ")
_ERROR = re.compile(
    r"\berror\s*:|\bfatal\s*:|CMake Error|\w+Error:|^compile: (?!\d+ units)|Hunk #\d+ FAILED|hunks FAILED|"
    r"patch detected|\bdied\b|\bKilled\b|cannot find |No space left|Could not resolve"
)
_OF_PATCH = re.compile(r"[Hh]unk|\bpatch\b")
_NEXT_UNIT = re.compile(r"^\[\d+/\d+\] |^ninja: ")
_PATCH = re.compile(r"^patch: (\S+\.patch)$")
_NOISE = re.compile(r"^ninja: |subprocess\.CalledProcessError|^\s*raise |^Traceback|^\s+File \"")

# Each: what stands in the output, and what to do about it. The first that is found counts.
_KNOWN = (
    (
        r"signal 9\b|\bKilled\b|exit code:? 137\b|\[code=137\]",
        "a unit was killed, most likely for memory: raise its GiB under [memory] in the component's file",
    ),
    (r"No space left on device|Disk quota exceeded", "the disk is full: `nox -s clean`, or more room for the builder"),
    (
        r"Could not resolve host|unable to access 'http|Network is unreachable|Temporary failure in name resolution",
        "the build wanted something from the network: name it as a [[source]] of the component, and lock again",
    ),
    (
        r"Hunk #\d+ (FAILED|ignored)|hunks? FAILED|malformed patch|can't find file to patch|patch detected!",
        "a patch does not fit this version of the source: make it anew, or delete it if upstream has it now",
    ),
    (
        r"Unsupported gpu architecture|is not defined for option 'gpu-(architecture|name)'",
        "the toolkit is too old for this architecture: choose a later CUDA line",
    ),
    (
        r"\bsignal 11\b|Segmentation fault|internal compiler error",
        "a compiler crashed: compile again; if the same unit crashes it, leave that unit out or take another toolkit",
    ),
    (
        r"unsupported GNU version|requires (gcc|GCC)|GCC >= ",
        "the compiler of images/base does not suit this version: take another version of the component",
    ),
    (
        r"fatal error: \S+: No such file or directory|cannot find -l|Could NOT find|"
        r"Could not find a package configuration file",
        "a header or a library is missing: add its wheel to the component's requirements, or its Debian package to the "
        "toolkit's",
    ),
    (
        r"does not need libcuda\.so\.1",
        "link it with CUDA::cuda_driver or -lcuda: a stand-in is where CMAKE_LIBRARY_PATH and LIBRARY_PATH say",
    ),
)


def advise(lines: Sequence[str]) -> str:
    """One line of advice on a failure that is known by its output; empty where it is not."""
    text = "\n".join(lines)
    advice = next((advice for pattern, advice in _KNOWN if re.search(pattern, text)), "")
    patches = [found[1] for line in lines if (found := _PATCH.match(line))]
    return advice.replace("a patch", patches[-1], 1) if patches else advice  # none is tried after one that failed


def find_relevant(lines: Sequence[str]) -> list[str]:
    """The lines that explain a failure, at most MOST: what the first unit that failed said, or else from the first
    error on; without what only repeats it."""
    numbers = range(len(lines))
    first = next((number for number in numbers if _UNIT_FAILED.search(lines[number])), None)
    if first is None:
        first = next((number for number in numbers if _ERROR.search(lines[number])), None)
    if first is None:
        return list(lines[-MOST:])
    end = next((number for number in numbers[first + 1 :] if _NEXT_UNIT.match(lines[number])), len(lines))
    said = [line[:WIDEST] for line in lines[first:end] if line.strip() and not _NOISE.search(line)]
    if _OF_PATCH.search(lines[first]):
        said = [line for line in lines[:first] if _PATCH.match(line)][-1:] + said
    return _choose(said)


def _choose(said: list[str]) -> list[str]:
    if len(said) <= MOST:
        return said
    errors = [number for number, line in enumerate(said) if _ERROR.search(line)]
    near = {0, *(number + step for number in errors for step in range(-AROUND, AROUND + 1))}
    chosen = [line for number, line in enumerate(said) if number in near]
    return (chosen if errors else said)[:MOST]
