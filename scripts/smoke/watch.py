"""A GPU watched while an image runs on it: where it was the GPU that failed, nothing that the image did counts."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pynvml

from scripts.engine import Engine
from scripts.matrix import Scenario
from scripts.model import Outcome, Result
from scripts.smoke.gpu import TIMEOUT_S, Gpu, find_faults, find_slowdowns, request_device
from scripts.smoke.trial import Trial, run_trial

WATCHED = "gpu"  # the check that says how the GPU itself fared
POLL_MS = 500
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
    """Hears what the driver reports of a GPU, from its making until `end`, in a thread that nobody has to wait for."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._over = Event()
        self._xids: Counter[int] = Counter()
        self._slowed: dict[str, None] = {}
        self._celsius = 0
        self._untold = ""
        self._fault = ""
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> Sighting:
        """What was seen until now. A driver that no longer answers is a fault."""
        self._over.set()
        self._thread.join(TIMEOUT_S)
        if self._thread.is_alive():
            self._fault = f"the driver does not answer within {TIMEOUT_S:.0f} s"
        return Sighting(dict(self._xids), tuple(self._slowed), self._celsius, self._fault, self._untold)

    def _look(self) -> None:
        try:
            pynvml.nvmlInit()
            try:
                handle = pynvml.nvmlDeviceGetHandleByUUID(self._gpu.uuid)
                self._listen(handle)
                self._fault = find_faults(handle)
            finally:
                with suppress(pynvml.NVMLError):
                    pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            self._fault = f"the driver fails: {error}"

    def _listen(self, handle: object) -> None:
        events = pynvml.nvmlEventSetCreate()
        try:
            try:
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
            except pynvml.NVMLError as error:  # some models and virtual machines have no events
                self._untold = str(error)
            while not self._over.is_set():
                self._sample(handle)
                self._wait(events)
            self._sample(handle)
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(events)

    def _wait(self, events: object) -> None:
        if self._untold:
            self._over.wait(POLL_MS / 1000)
            return
        try:
            self._xids[int(pynvml.nvmlEventSetWait_v2(events, POLL_MS).eventData)] += 1
        except pynvml.NVMLError_Timeout:
            pass
        except pynvml.NVMLError as error:  # a GPU that is lost fails the next question, too
            self._untold = str(error)

    def _sample(self, handle: object) -> None:
        self._slowed |= dict.fromkeys(find_slowdowns(handle))
        with suppress(pynvml.NVMLError_NotSupported):
            now = pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
            self._celsius = max(self._celsius, int(now))


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

    Where the GPU failed, that is the only result. Raises Undecided for an engine that cannot hand out the GPU.
    """
    if gpu is None:
        return run_trial(engine, digest, folder, scenario, environment, (), cache, script)
    devices = [request_device(engine, gpu)]
    watch = Watch(gpu)
    try:
        trial = run_trial(engine, digest, folder, scenario, environment, devices, cache, script)
    finally:
        seen = watch.end()
    return replace(trial, results=judge_gpu(trial.results, seen, platform.node()))


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
