"""How far a compile step is: Ninja's `[17/110] Building CUDA object …`, as a line that people can wait by."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_STEP = re.compile(r"^\[(\d+)/(\d+)\]\s+(.*)")
_OBJECT = re.compile(r"(?:CMakeFiles/[^/]+\.dir/)?(\S+?)(?:\.o|\.so)?$")
SETTLED_S = 60.0  # before that, a rate says nothing
FEW = 8  # so do so few units: CMake's own trials are such runs


@dataclass
class Units:
    """Follows the output of a build that runs Ninja, once or several times; `clock` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    _started: float = field(default=0.0, init=False)
    _first: int = field(default=0, init=False)  # what was done by then: in an earlier build, mostly
    _done: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)

    def follow(self, line: str) -> str | None:
        """What to show after a line of output: `17 of 110 units, about 38 min left: x.cu`; None: nothing new."""
        found = _STEP.match(line)
        if found is None:
            return None
        done, total = int(found[1]), int(found[2])
        if done <= self._done or self._total == 0:  # another run of Ninja; within one, the total may shrink
            self._started, self._first = self.clock(), done
        self._done, self._total = done, total
        return f"{done} of {total} units{self._describe_rest()}: {_name(found[3])}"

    def _describe_rest(self) -> str:
        """The time that is left if the units to come take as long as those before, for runs worth the words."""
        spent, count = self.clock() - self._started, self._done - self._first
        if self._total < FEW or spent < SETTLED_S or count < 1:
            return ""
        minutes = spent / count * (self._total - self._done) / 60
        return f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"


def _name(what: str) -> str:
    """The file of `Building CUDA object CMakeFiles/_C.dir/csrc/x.cu.o`, or all of it where it is put otherwise."""
    word = what.split()[-1] if what.split() else what
    found = _OBJECT.fullmatch(word)
    return found[1].rpartition("/")[2] if found else what
