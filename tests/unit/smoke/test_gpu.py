"""Which GPU is there, whether it is the one that an image is for, and how an engine hands it out."""

from __future__ import annotations

import dataclasses
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvml
import pytest
import requests

from scripts.errors import ExitCode, Undecided
from scripts.model import Cell, CudaLine
from scripts.smoke import gpu as module
from scripts.smoke import nvml
from scripts.smoke.gpu import (
    Gpu,
    choose_targets,
    driver_floor,
    find_gpus,
    hold_targets,
    is_driver_enough,
    request_device,
)
from scripts.smoke.trial import run_trial
from tests.unit.builders import CPU, RTX, SCENARIO, make_cell
from tests.unit.fake_docker import FakeDocker, raise_
from tests.unit.smoke.fake_nvml import FakeDriver

UUID = "GPU-8f3c"
GPU = Gpu("0", UUID, "RTX 5090", "12.0", "580.95.05", memory=32_607 << 20)
OTHER = Gpu("1", "GPU-1111", "NVIDIA H200", "9.0", "580.95.05")
CELL = make_cell(RTX, "source")
RUNTIME: dict[str, Any] = {"Runtimes": {"runc": {}, "nvidia": {}}}


CALLS = sorted(name for name in vars(FakeDriver) if name.startswith("nvml") and callable(getattr(FakeDriver, name)))
ASKED = [
    "nvmlInit",
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetMemoryInfo",
]


def answer(
    monkeypatch: pytest.MonkeyPatch, *gpus: Gpu, fails_in: str = "", error: Exception | None = None
) -> list[str]:
    """Have the driver show these GPUs; gives the calls that it gets."""
    driver = FakeDriver(*gpus, fails_in=fails_in, error=error)
    monkeypatch.setattr(nvml, "pynvml", driver)
    return driver.calls


# --- what the driver shows


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, fails_in="nvmlInit", error=pynvml.NVMLError_LibraryNotFound())
    assert find_gpus() == []
    assert calls == ["nvmlInit"]


def test_a_gpu_without_memory_of_its_own_is_found_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, GPU, fails_in="nvmlDeviceGetMemoryInfo", error=pynvml.NVMLError_NotSupported())
    assert find_gpus() == [dataclasses.replace(GPU, memory=0)]


def test_every_gpu_of_the_machine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, GPU, OTHER)
    assert find_gpus() == [GPU, OTHER]
    assert calls[-1] == "nvmlShutdown"


@pytest.mark.parametrize(
    "call",
    [
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetCurrentClocksEventReasons",
    ],
)
def test_what_a_model_does_not_tell_is_no_trouble(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, GPU, fails_in=call, error=pynvml.NVMLError_NotSupported())
    assert find_gpus() == [GPU]


@pytest.mark.parametrize(
    ("shown", "trouble"),
    [
        ({"users": {"0": [4711, 12]}}, "in use by process 12, 4711"),
        ({"errors": 3}, "its memory has had 3 uncorrected errors since the driver was loaded"),
        ({"slowed": 0x40}, "slowed down: too hot"),
        ({"slowed": 0xC0}, "slowed down: too hot, too little power"),
        ({"slowed": 0x80, "users": {"0": [1]}}, "slowed down: too little power"),
        ({"slowed": 0x01 | 0x04 | 0x08 | 0x20}, ""),  # idle, at its power limit, slowed by the driver: as ever
    ],
)
def test_what_keeps_a_gpu_from_being_judged_on(
    shown: dict[str, Any], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, GPU)
    for name, value in shown.items():
        monkeypatch.setattr(FakeDriver, name, value)
    assert find_gpus() == [dataclasses.replace(GPU, trouble=trouble)]


def test_the_calls_are_those_that_the_library_has() -> None:
    assert [name for name in CALLS if not callable(getattr(pynvml, name, None))] == []


def test_a_driver_without_a_gpu_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    assert find_gpus() == []


@pytest.mark.parametrize("call", ASKED)
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


def but(**fields: Any) -> Gpu:
    """The target with something else about it."""
    return dataclasses.replace(GPU, **fields)


def test_the_target_is_found_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, OTHER, GPU, but(uuid="GPU-2222"))
    assert [gpu.uuid for gpu in choose_targets(CELL, find_gpus())] == [UUID, "GPU-2222"]


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
def test_anything_but_the_target_is_undecided(shown: list[Gpu], said: str) -> None:
    with pytest.raises(Undecided, match=said) as caught:
        choose_targets(CELL, shown)
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE
    assert caught.value.problems[0].place == CELL.id


@pytest.mark.parametrize("driver", ["570.124.06", "570.133", "1000.1"])
def test_a_driver_that_is_just_new_enough_will_do(driver: str) -> None:
    assert choose_targets(CELL, [but(driver=driver)])[0].driver == driver


@pytest.mark.parametrize(
    ("driver", "enough"), [("570.124.06", True), ("570.124.05", False), ("1000.1", True), ("99.1", False), ("", False)]
)
def test_a_driver_is_enough_from_the_floor_on(driver: str, enough: bool) -> None:
    assert is_driver_enough(CELL, driver) is enough


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


# --- holding them


SECOND = but(index="1", uuid="GPU-2222")


def test_all_that_fit_are_held_and_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_targets(CELL, lambda: [OTHER, GPU, SECOND], tmp_path) as held:
            assert held == (GPU, SECOND)


@pytest.mark.parametrize(("most", "held"), [(None, (GPU, SECOND)), (2, (GPU, SECOND)), (1, (GPU,))])
def test_no_more_are_held_than_are_asked_for(most: int | None, held: tuple[Gpu, ...], tmp_path: Path) -> None:
    with hold_targets(CELL, lambda: [GPU, SECOND], tmp_path, most) as found:
        assert found == held


def test_one_that_is_in_trouble_is_not_the_one_that_is_asked_for(tmp_path: Path) -> None:
    with hold_targets(CELL, lambda: [but(trouble="too hot"), SECOND], tmp_path, 1) as held:
        assert held == (SECOND,)


def test_what_another_run_holds_is_left_to_it(tmp_path: Path) -> None:
    with hold_targets(CELL, lambda: [GPU], tmp_path), hold_targets(CELL, lambda: [GPU, SECOND], tmp_path) as held:
        assert held == (SECOND,)


@contextmanager
def held_elsewhere(gpus: list[Gpu], folder: Path) -> Iterator[dict[str, threading.Event]]:
    """Other runs that hold these GPUs, one each, until they are told to end."""
    ends = {gpu.uuid: threading.Event() for gpu in gpus}
    holding = threading.Barrier(len(gpus) + 1)

    def other(gpu: Gpu) -> None:
        with hold_targets(CELL, lambda: [gpu], folder):
            holding.wait(30)
            ends[gpu.uuid].wait(30)

    threads = [threading.Thread(target=other, args=(gpu,)) for gpu in gpus]
    for thread in threads:
        thread.start()
    holding.wait(30)
    try:
        yield ends
    finally:
        for end in ends.values():
            end.set()
        for thread in threads:
            thread.join(30)


def test_where_another_run_holds_them_all_it_is_waited_for_whatever_it_has_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got = threading.Event()
    with held_elsewhere([GPU], tmp_path) as ends:
        over = ends[GPU.uuid]

        def look() -> list[Gpu]:
            return [GPU if over.is_set() else but(trouble="in use by process 12")]

        def wait() -> None:
            with hold_targets(CELL, look, tmp_path) as held:
                assert held == (GPU,)
                got.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.5)
        over.set()
        waiting.join(30)
    assert got.is_set()
    assert "waiting for another run's test on RTX 5090 0 to end" in capsys.readouterr().err


def test_of_those_that_other_runs_hold_the_first_that_is_free_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held_elsewhere([GPU, SECOND], tmp_path) as ends:
        timer = threading.Timer(0.1, ends[SECOND.uuid].set)
        timer.start()
        with hold_targets(CELL, lambda: [GPU, SECOND], tmp_path) as held:
            assert held == (SECOND,) and not ends[GPU.uuid].is_set()
        timer.join(30)
    assert "waiting for another run's test on RTX 5090 0 or 1 to end" in capsys.readouterr().err


def test_another_run_is_waited_for_where_all_else_is_in_use_by_other_programs(tmp_path: Path) -> None:
    used = but(index="3", uuid="GPU-3", trouble="in use by process 12")
    with held_elsewhere([GPU], tmp_path) as ends:
        timer = threading.Timer(0.1, ends[GPU.uuid].set)
        timer.start()
        with hold_targets(CELL, lambda: [used, GPU], tmp_path) as held:
            assert held == (GPU,)
        timer.join(30)


def test_one_that_is_in_trouble_is_passed_over_and_leaves_it_open_where_there_is_no_other(tmp_path: Path) -> None:
    sick = but(trouble="in use by process 12")
    with hold_targets(CELL, lambda: [sick, SECOND], tmp_path) as held:
        assert held == (SECOND,)
    with pytest.raises(Undecided, match=r"RTX 5090 0: in use by process 12; RTX 5090 3: slowed") as caught:
        hold_targets(CELL, lambda: [sick, but(index="3", uuid="GPU-3", trouble="slowed")], tmp_path).__enter__()
    assert platform.node() in str(caught.value) and caught.value.problems[0].next_step


def test_one_that_is_lost_while_it_was_waited_for_leaves_it_open(tmp_path: Path) -> None:
    shown = [[GPU], []]
    with pytest.raises(Undecided, match="they are gone"):
        hold_targets(CELL, lambda: shown.pop(0), tmp_path).__enter__()


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


@pytest.mark.parametrize(
    "info", [[], "x", {"DiscoveredDevices": 5}, {"DiscoveredDevices": ["x"]}, {"DiscoveredDevices": [], "Runtimes": 1}]
)
def test_an_engine_that_answers_strangely_is_undecided(info: Any) -> None:
    docker = FakeDocker()
    docker.info = lambda: info  # type: ignore[method-assign]
    with pytest.raises(Undecided, match="as no engine does"):
        request_device(docker.engine(), GPU)
