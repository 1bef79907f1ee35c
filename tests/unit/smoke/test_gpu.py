"""Which GPU is there, whether it is the one that an image is for, and how an engine hands it out."""

from __future__ import annotations

import dataclasses
import platform
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pynvml
import pytest
import requests

from scripts.errors import ExitCode, Undecided
from scripts.model import Cell, CudaLine
from scripts.smoke import gpu as module
from scripts.smoke.gpu import Gpu, driver_floor, find_gpus, find_target, request_device
from scripts.smoke.trial import run_trial
from tests.unit.builders import CPU, RTX, SCENARIO, make_cell
from tests.unit.fake_docker import FakeDocker, raise_

UUID = "GPU-8f3c"
GPU = Gpu("0", UUID, "RTX 5090", "12.0", "580.95.05")
OTHER = Gpu("1", "GPU-1111", "NVIDIA H200", "9.0", "580.95.05")
CELL = make_cell(RTX, "source")
RUNTIME: dict[str, Any] = {"Runtimes": {"runc": {}, "nvidia": {}}}


class FakeDriver:
    """NVIDIA's library as pynvml shows it: with these GPUs, or with an error in one of the calls."""

    NVMLError = pynvml.NVMLError
    NVMLError_LibraryNotFound = pynvml.NVMLError_LibraryNotFound
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    NVML_VOLATILE_ECC = pynvml.NVML_VOLATILE_ECC
    errors = 0
    users: ClassVar[dict[str, list[int]]] = {}

    def __init__(self, *gpus: Gpu, fails_in: str = "", error: Exception | None = None) -> None:
        self.gpus, self.fails_in, self.error = gpus, fails_in, error
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_in and self.error:
            raise self.error

    def nvmlInit(self) -> None:  # noqa: N802
        self._call("nvmlInit")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._call("nvmlShutdown")

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        self._call("nvmlSystemGetDriverVersion")
        return self.gpus[0].driver if self.gpus else "580.95.05"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._call("nvmlDeviceGetCount")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:  # noqa: N802
        self._call("nvmlDeviceGetHandleByIndex")
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, handle: Gpu) -> str:  # noqa: N802
        self._call("nvmlDeviceGetUUID")
        return handle.uuid

    def nvmlDeviceGetName(self, handle: Gpu) -> str:  # noqa: N802
        self._call("nvmlDeviceGetName")
        return handle.name

    def nvmlDeviceGetTotalEccErrors(self, handle: Gpu, kind: int, since: int) -> int:  # noqa: N802
        self._call("nvmlDeviceGetTotalEccErrors")
        assert (kind, since) == (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        return self.errors

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Gpu) -> list[Any]:  # noqa: N802
        self._call("nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=pid) for pid in self.users.get(handle.index, [])]

    def nvmlDeviceGetCudaComputeCapability(self, handle: Gpu) -> list[int]:  # noqa: N802
        self._call("nvmlDeviceGetCudaComputeCapability")
        return [int(part) for part in handle.compute.split(".")]


CALLS = sorted(name for name in vars(FakeDriver) if name.startswith("nvml"))


def answer(
    monkeypatch: pytest.MonkeyPatch, *gpus: Gpu, fails_in: str = "", error: Exception | None = None
) -> list[str]:
    """Have the driver show these GPUs; gives the calls that it gets."""
    driver = FakeDriver(*gpus, fails_in=fails_in, error=error)
    monkeypatch.setattr(module, "pynvml", driver)
    return driver.calls


# --- what the driver shows


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, fails_in="nvmlInit", error=pynvml.NVMLError_LibraryNotFound())
    assert find_gpus() == []
    assert calls == ["nvmlInit"]


def test_every_gpu_of_the_machine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, GPU, OTHER)
    assert find_gpus() == [GPU, OTHER]
    assert calls[-1] == "nvmlShutdown"


@pytest.mark.parametrize("call", ["nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetComputeRunningProcesses"])
def test_what_a_model_does_not_tell_is_no_trouble(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, GPU, fails_in=call, error=pynvml.NVMLError_NotSupported())
    assert find_gpus() == [GPU]


def test_one_that_is_in_use_or_has_errors_is_passed_over_and_leaves_it_open_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = dataclasses.replace(GPU, index="1")
    monkeypatch.setattr(FakeDriver, "users", {"0": [4711, 12]})
    answer(monkeypatch, GPU, second)
    assert find_target(CELL) == second
    answer(monkeypatch, GPU)
    with pytest.raises(Undecided, match=r"RTX 5090 0: in use by process 12, 4711") as caught:
        find_target(CELL)
    assert platform.node() in str(caught.value) and caught.value.problems[0].next_step
    monkeypatch.setattr(FakeDriver, "errors", 3)
    answer(monkeypatch, second)
    with pytest.raises(Undecided, match="3 uncorrected errors"):
        find_target(CELL)


def test_the_calls_are_those_that_the_library_has() -> None:
    assert [name for name in CALLS if not callable(getattr(pynvml, name, None))] == []


def test_a_driver_without_a_gpu_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    assert find_gpus() == []


@pytest.mark.parametrize("call", [name for name in CALLS if name != "nvmlShutdown"])
def test_a_driver_that_fails_is_undecided_and_says_why(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, GPU, fails_in=call, error=pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED))
    with pytest.raises(Undecided, match="the NVIDIA driver fails: Driver Not Loaded") as caught:
        find_gpus()
    assert "mend the driver" in caught.value.problems[0].next_step
    assert ("nvmlShutdown" in calls) is (call != "nvmlInit")


def test_what_was_said_counts_even_if_the_farewell_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, GPU, fails_in="nvmlShutdown", error=pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN))
    assert find_gpus() == [GPU]


def test_a_driver_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(module, "TIMEOUT_S", 0.01)
    monkeypatch.setattr(FakeDriver, "nvmlDeviceGetCount", lambda self: answered.wait(30))
    answer(monkeypatch, GPU)
    try:
        with pytest.raises(Undecided, match="does not answer within"):
            find_gpus()
    finally:
        answered.set()


def test_a_mistake_of_ours_is_no_fault_of_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, GPU, fails_in="nvmlDeviceGetName", error=TypeError("ours"))
    with pytest.raises(TypeError, match="ours"):
        find_gpus()


# --- which of them is the target


def but(**fields: str) -> Gpu:
    """The target with something else about it."""
    return dataclasses.replace(GPU, **fields)


def test_the_target_is_found_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, OTHER, GPU, but(uuid="GPU-2222"))
    assert find_target(CELL).uuid == UUID


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ([], "this machine has no NVIDIA GPU"),
        ([OTHER], r"this machine has NVIDIA H200 \(9.0\), not RTX 5090 \(12.0\)"),
        ([OTHER, OTHER], r"this machine has NVIDIA H200 \(9.0\), not"),
        # Of the same compute capability, and yet not what the image was promised to run on.
        ([but(name="RTX 5090 D")], r"this machine has RTX 5090 D \(12.0\), not RTX 5090 \(12.0\)"),
        ([but(compute="12.1")], r"this machine has RTX 5090 \(12.1\), not"),
        ([but(driver="565.57.01")], "the driver is 565.57.01, and 570.124.06 or newer is needed"),
        ([but(driver="570.86.15")], "the driver is 570.86.15, and 570.124.06 or newer is needed"),
        ([but(driver="99.124.06")], "the driver is 99.124.06"),
        ([but(driver="[N/A]")], r"the driver is \[N/A\], and"),
        ([but(driver="")], "the driver is , and"),
    ],
)
def test_anything_but_the_target_is_undecided(shown: list[Gpu], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, *shown)
    with pytest.raises(Undecided, match=said) as caught:
        find_target(CELL)
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE
    assert caught.value.problems[0].place == CELL.id


@pytest.mark.parametrize("driver", ["570.124.06", "570.133", "1000.1"])
def test_a_driver_that_is_just_new_enough_will_do(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, but(driver=driver))
    assert find_target(CELL).driver == driver


@pytest.mark.parametrize(
    ("target", "line", "floor"),
    [
        ("570", "570.124.06", "570.124.06"),
        ("570.133", "570.124.06", "570.133"),
        ("580", "570.124.06", "580"),
        ("99", "570.124.06", "570.124.06"),
        ("", "570.26", "570.26"),
    ],
)
def test_the_newer_of_two_floors_counts(target: str, line: str, floor: str) -> None:
    cell = Cell("serve", dataclasses.replace(RTX, driver=target), CudaLine("12.8", "12.8.1", line), "source")
    assert driver_floor(cell) == floor


def test_a_cell_without_cuda_has_its_targets_floor_or_none() -> None:
    assert driver_floor(make_cell(CPU)) == ""


# --- how an engine hands it out


def docker_that_knows(**info: Any) -> FakeDocker:
    docker = FakeDocker()
    docker.info = lambda: info  # type: ignore[method-assign]
    return docker


def cdi(*devices: str) -> dict[str, Any]:
    return {"DiscoveredDevices": [{"Source": "cdi", "ID": device} for device in devices]}


def test_a_device_that_the_engine_knows_is_asked_for_by_name() -> None:
    request = request_device(docker_that_knows(**cdi("nvidia.com/gpu=0", "nvidia.com/gpu=all")).engine(), GPU)
    assert (request.driver, request.device_ids) == ("cdi", ["nvidia.com/gpu=0"])
    assert not request.capabilities


def test_the_runtime_is_asked_for_this_one_gpu_by_uuid() -> None:
    request = request_device(docker_that_knows(**RUNTIME).engine(), GPU)
    assert (request.driver, request.device_ids, request.capabilities) == ("nvidia", [UUID], [["gpu"]])
    assert request.count == 0, "never all of them"


def test_a_device_is_preferred_to_the_runtime() -> None:
    assert request_device(docker_that_knows(**cdi("nvidia.com/gpu=0"), **RUNTIME).engine(), GPU).driver == "cdi"
    assert request_device(docker_that_knows(**cdi("nvidia.com/gpu=1"), **RUNTIME).engine(), GPU).driver == "nvidia"


@pytest.mark.parametrize(
    "info",
    [{}, {"DiscoveredDevices": None, "Runtimes": None}, {"Runtimes": {"runc": {}}}, cdi("nvidia.com/gpu=1"), cdi()],
)
def test_an_engine_that_knows_neither_is_undecided(info: dict[str, Any]) -> None:
    with pytest.raises(Undecided, match=r"knows no device nvidia.com/gpu=0 and has no NVIDIA runtime") as caught:
        request_device(docker_that_knows(**info).engine(), GPU)
    assert "NVIDIA Container Toolkit" in caught.value.problems[0].next_step


def test_an_engine_that_has_gone_is_undecided() -> None:
    docker = FakeDocker()
    docker.info = lambda: raise_(requests.ConnectionError("gone"))  # type: ignore[method-assign]
    with pytest.raises(Undecided, match="the engine failed"):
        request_device(docker.engine(), GPU)


def test_a_container_is_given_what_was_requested_and_nothing_unasked() -> None:
    docker = docker_that_knows(**RUNTIME)
    request = request_device(docker.engine(), GPU)
    run_trial(docker.engine(), "sha256:" + "d" * 64, Path("/smoke"), SCENARIO, {}, [request])
    run_trial(docker.engine(), "sha256:" + "d" * 64, Path("/smoke"), SCENARIO, {})
    assert [options["device_requests"] for _, options in docker.created] == [[request], []]
