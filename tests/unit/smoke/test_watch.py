"""A GPU that fails is not held against the image that runs on it, and nothing that it showed meanwhile counts."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pynvml
import pytest

from scripts.errors import Undecided
from scripts.model import Outcome, Result, Verdict
from scripts.smoke import watch as module
from scripts.smoke.gpu import Gpu
from scripts.smoke.trial import Trial
from scripts.smoke.watch import PROGRAM_XIDS, WATCHED, Sighting, Watch, judge_gpu, run_watched
from scripts.verdict import decide
from tests.unit.builders import SCENARIO
from tests.unit.fake_docker import FakeDocker, raise_
from tests.unit.smoke.fake_nvml import FakeDriver

GPU = Gpu("0", "GPU-8f3c", "RTX 5090", "12.0", "580.95.05")
DIGEST = "sha256:" + "d" * 64
GOOD, BAD = Result("serve", Outcome.PASSED, ""), Result("logprobs", Outcome.FAILED, "2 nats")
FELL_OFF, BROKEN_BUS, SEGFAULT = 79, 74, 31


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """A driver with the one GPU, which is well."""
    return use(monkeypatch)


def use(monkeypatch: pytest.MonkeyPatch, **options: Any) -> FakeDriver:
    driver = FakeDriver(GPU, **options)
    monkeypatch.setattr("scripts.smoke.nvml.pynvml", driver)
    return driver


def run(monkeypatch: pytest.MonkeyPatch, *results: Result, gpu: Gpu | None = GPU, meanwhile: Any = None) -> Trial:
    """What comes of a container that ends with these results, while something happens to the GPU."""
    docker = FakeDocker()
    docker.info = lambda: {"Runtimes": {"nvidia": {}}}  # type: ignore[method-assign]

    def run_trial(*given: Any) -> Trial:
        devices = given[5]
        assert [device.device_ids for device in devices] == ([[gpu.uuid]] if gpu else [])
        if meanwhile:
            meanwhile()
        return Trial(results, "the log", 1.0)

    monkeypatch.setattr(module, "run_trial", run_trial)
    return run_watched(docker.engine(), DIGEST, Path("/smoke"), SCENARIO, {}, gpu, Path("/cache"))


# --- what is seen


def test_xids_are_counted_until_the_end(driver: FakeDriver) -> None:
    watch = Watch(GPU)
    for xid in (SEGFAULT, FELL_OFF, SEGFAULT):
        driver.xids.put(xid)
    wait_for(lambda: driver.xids.empty() and driver.calls.count("nvmlEventSetWait_v2") > 3)
    assert watch.end() == Sighting({SEGFAULT: 2, FELL_OFF: 1}, celsius=40)
    assert driver.calls[-2:] == ["nvmlDeviceGetTotalEccErrors", "nvmlShutdown"]
    assert "nvmlEventSetFree" in driver.calls


def test_the_highest_temperature_and_each_slowdown_are_kept(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.temperatures = [60, 91, 70]
    watch = Watch(GPU)
    wait_for(lambda: not driver.temperatures)
    monkeypatch.setattr(FakeDriver, "slowed", 0x40)
    seen = watch.end()
    assert (seen.celsius, seen.slowed) == (91, ("too hot",))


def test_errors_of_the_memory_are_a_fault(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(GPU)
    monkeypatch.setattr(FakeDriver, "errors", 1)
    assert "1 uncorrected errors" in watch.end().fault


@pytest.mark.parametrize(
    "call", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlEventSetCreate", "nvmlDeviceGetTemperature"]
)
def test_a_driver_that_fails_is_a_fault(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fails_in=call, error=pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST))
    assert Watch(GPU).end().fault == "the driver fails: GPU is lost"


@pytest.mark.parametrize("call", ["nvmlDeviceRegisterEvents", "nvmlEventSetWait_v2"])
def test_a_driver_that_tells_of_no_xids_is_none(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = use(monkeypatch, fails_in=call, error=pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))
    watch = Watch(GPU)
    wait_for(lambda: call in driver.calls)
    assert watch.end() == Sighting({}, celsius=40, untold="Not Supported")


@pytest.mark.parametrize("call", ["nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksEventReasons"])
def test_what_a_model_does_not_tell_is_no_fault(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fails_in=call, error=pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))
    assert Watch(GPU).end().fault == ""


def test_a_driver_that_hangs_is_a_fault_and_is_not_waited_for(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(module, "TIMEOUT_S", 0.01)
    monkeypatch.setattr(FakeDriver, "nvmlDeviceGetTemperature", lambda *_: over.wait(30))
    try:
        assert "does not answer within" in Watch(GPU).end().fault
    finally:
        over.set()


# --- what comes of it


def test_a_gpu_that_was_well_is_one_more_check_that_passed(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = run(monkeypatch, GOOD, BAD)
    assert trial.results[:2] == (GOOD, BAD) and (trial.log, trial.seconds) == ("the log", 1.0)
    [own] = trial.results[2:]
    assert (own.check, own.outcome, own.measured) == (WATCHED, Outcome.PASSED, {"celsius": 40, "xids": {}})


@pytest.mark.parametrize("fault", [{FELL_OFF: 1}, {BROKEN_BUS: 2}, {SEGFAULT: 1, FELL_OFF: 1}, {999: 1}])
def test_where_the_gpu_failed_that_is_all_that_is_known(fault: dict[int, int]) -> None:
    [own] = judge_gpu((GOOD, BAD), Sighting(fault), "kepler")
    assert own.outcome is Outcome.ERROR and own.detail.startswith("the GPU of kepler failed: the driver reported Xid ")
    assert own.detail.endswith("not held against the image: logprobs")
    assert own.measured["xids"] == {str(xid): count for xid, count in fault.items()}
    assert decide([own], [WATCHED, "serve", "logprobs"])[0] is Verdict.INCONCLUSIVE


def test_a_fault_without_an_xid_is_one(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose() -> None:
        monkeypatch.setattr(
            FakeDriver, "nvmlDeviceGetTemperature", lambda *_: raise_(pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST))
        )

    [own] = run(monkeypatch, GOOD, meanwhile=lose).results
    assert own.outcome is Outcome.ERROR and "GPU is lost" in own.detail and "meanwhile" not in own.detail


@pytest.mark.parametrize("xid", sorted(PROGRAM_XIDS))
def test_what_a_program_did_wrong_is_its_own_to_answer_for(xid: int) -> None:
    *rest, own = judge_gpu((GOOD, BAD), Sighting({xid: 1}), "kepler")
    assert rest == [GOOD, BAD] and own.outcome is Outcome.PASSED and own.measured["xids"] == {str(xid): 1}


def test_what_slowed_it_and_what_was_not_told_are_kept(driver: FakeDriver) -> None:
    [own] = judge_gpu((), Sighting({}, ("too hot",), 92, untold="Not Supported"), "kepler")
    assert own.measured == {"celsius": 92, "xids": {}, "slowed": ("too hot",), "untold": "Not Supported"}


def test_without_a_gpu_nothing_is_watched(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, GOOD, gpu=None).results == (GOOD,)
    assert driver.calls == []


def test_the_watch_ends_with_a_trial_that_is_not_to_be_had(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Undecided):
        run(monkeypatch, meanwhile=lambda: raise_(Undecided("a container is left behind", "hallmark-1")))
    assert driver.calls[-1] == "nvmlShutdown"
    assert not [thread for thread in threading.enumerate() if "_look" in thread.name]


def wait_for(condition: Any) -> None:
    patience = threading.Event()
    for _ in range(3000):
        if condition():
            return
        patience.wait(0.01)
    raise AssertionError("it did not come to pass")
