"""A GPU watched while an image runs on it: where it was the GPU that failed, nothing that the image did counts."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.engine import Engine
from scripts.errors import Problem, Undecided
from scripts.matrix import Scenario
from scripts.model import Outcome, Result
from scripts.smoke.away import Watcher
from scripts.smoke.gpu import TIMEOUT_S, Gpu, request_device
from scripts.smoke.nvml import Record
from scripts.smoke.trial import Trial, run_trial

WATCHED = "gpu"  # the check that says how the GPU itself fared
# What a program did wrong, by NVIDIA's table of Xids; its device plugin for Kubernetes leaves a GPU in use after these,
# too. Any other is taken for the GPU's, the bus's or the driver's own.
PROGRAM_XIDS = frozenset({13, 31, 43, 45, 68, 109})


@dataclass(frozen=True)
class Sighting:
    """What was seen of a GPU: its Xids by number, why it was slowed down, its highest temperature in °C.

    `fault` is what is wrong with it, as far as the driver says; `untold` why the driver tells of no Xids.
    """

    xids: Mapping[int, int]
    slowed: tuple[str, ...] = ()
    celsius: int = 0
    fault: str = ""
    untold: str = ""


class Watch:
    """Hears what the driver of this machine reports of a GPU, from its making until `end`."""

    def __init__(self, gpu: Gpu) -> None:
        self._record = Record(gpu.uuid)

    def end(self) -> Sighting:
        """What was seen until now. A driver that no longer answers is a fault."""
        return Sighting(**self._record.end(TIMEOUT_S))


class WatchThere:
    """The same of a GPU of another machine, in a container there."""

    def __init__(self, engine: Engine, digest: str, gpu: Gpu, limit_s: float) -> None:
        self._watcher = Watcher(engine, digest, gpu, limit_s)

    def end(self) -> Sighting:
        """What was seen until now. Where nobody can tell any more, that is a fault."""
        return Sighting(**self._watcher.end())


def run_watched(
    engine: Engine,
    digest: str,
    folder: Path,
    scenario: Scenario,
    environment: Mapping[str, str],
    gpu: Gpu | None,
    cache: Path,
    script: str = "smoke.py",
) -> Trial:
    """Run a script as `run_trial` does, on the GPU where one is given, and with what became of that as a result.

    Where the GPU failed, that is the only result. Raises Undecided for an engine that cannot hand out the GPU, and for
    one on another machine that fails, or cannot be reached any more.
    """
    if gpu is None:
        with naming_host(engine):
            return _require_told(engine, run_trial(engine, digest, folder, scenario, environment, (), cache, script))
    devices = [request_device(engine, gpu)]
    watch = WatchThere(engine, digest, gpu, scenario.timeout_s) if engine.away else Watch(gpu)
    try:
        with naming_host(engine):
            trial = run_trial(engine, digest, folder, scenario, environment, devices, cache, script)
    finally:
        seen = watch.end()
    host = "HALLMARK_GPU_HOST" if engine.away else platform.node()  # its address is in no evidence
    return replace(trial, results=judge_gpu(_require_told(engine, trial).results, seen, host))


@contextmanager
def naming_host(engine: Engine) -> Iterator[None]:
    """Let what could not be decided on another machine say on which, and how it goes on."""
    try:
        yield
    except Undecided as error:
        if not engine.away:
            raise
        problems = [Problem(each.cause, engine.host, engine.mend, each.details) for each in error.problems]
        raise Undecided(problems) from error


def _require_told(engine: Engine, trial: Trial) -> Trial:
    """A trial of another machine's engine, unless that failed: then it is not the image that is to be looked at."""
    lost = [result.detail for result in trial.results if result.outcome is Outcome.ERROR]
    if engine.away and lost:
        raise Undecided(lost[0], engine.host, engine.mend)
    return trial


def judge_gpu(results: Sequence[Result], seen: Sighting, host: str) -> tuple[Result, ...]:
    """The results with the GPU's own; that alone, undecided and with the host's name, where it was the GPU's fault."""
    measured: dict[str, Any] = {"celsius": seen.celsius}
    measured |= {"xids": {str(xid): count for xid, count in sorted(seen.xids.items())}}
    measured |= {name: value for name, value in (("slowed", seen.slowed), ("untold", seen.untold)) if value}
    own = sorted(set(seen.xids) - PROGRAM_XIDS)
    faults = [f"the driver reported Xid {', '.join(map(str, own))}"] if own else []
    faults += [seen.fault] if seen.fault else []
    if not faults:
        return (*results, Result(WATCHED, Outcome.PASSED, "no fault of its own", measured))
    failed = [result.check for result in results if not result.passed]
    lost = f"; what failed meanwhile is not held against the image: {', '.join(failed)}" if failed else ""
    return (Result(WATCHED, Outcome.ERROR, f"the GPU of {host} failed: {'; '.join(faults)}{lost}", measured),)
