"""Which GPU is there, whether it is the one that an image is for, and how an engine hands it out."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.errors import ExitCode, Undecided
from scripts.model import Cell, CudaLine
from scripts.smoke.gpu import Gpu, driver_floor, find_gpus, find_target, name_target, request_device
from scripts.smoke.trial import run_trial
from tests.unit.builders import CPU, RTX, SMOKE, make_cell
from tests.unit.fake_docker import FakeDocker, raise_

UUID = "GPU-8f3c"
OURS = f"0, {UUID}, RTX 5090, 12.0, 580.95.05\n"
OTHER = "1, GPU-1111, NVIDIA H200, 9.0, 580.95.05\n"
GPU = Gpu("0", UUID, "RTX 5090", "12.0", "580.95.05")
CELL = make_cell(RTX, "source")
RUNTIME: dict[str, Any] = {"Runtimes": {"runc": {}, "nvidia": {}}}


def answer(monkeypatch: pytest.MonkeyPatch, stdout: str = "", code: int = 0, stderr: str = "") -> list[list[str]]:
    """Have nvidia-smi print this; gives the commands that were run."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert options["timeout"], "a driver that hangs is not waited for"
        commands.append(command)
        return subprocess.CompletedProcess(command, code, stdout, stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: raise_(error))


# --- what the driver shows


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, FileNotFoundError("nvidia-smi"))
    assert find_gpus() == []


def test_every_gpu_of_the_machine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = answer(monkeypatch, OURS + OTHER)
    assert find_gpus() == [GPU, Gpu("1", "GPU-1111", "NVIDIA H200", "9.0", "580.95.05")]
    assert commands == [
        ["nvidia-smi", "--query-gpu=index,uuid,name,compute_cap,driver_version", "--format=csv,noheader"]
    ]


@pytest.mark.parametrize("text", ["", "\n", "No devices were found\n"])
def test_a_driver_without_a_gpu_shows_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, text)
    assert find_gpus() == []


@pytest.mark.parametrize(
    "error", [subprocess.TimeoutExpired("nvidia-smi", 60), PermissionError(13, "Permission denied"), OSError("x")]
)
def test_a_driver_that_does_not_answer_is_undecided(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, error)
    with pytest.raises(Undecided, match="the NVIDIA driver does not answer"):
        find_gpus()


@pytest.mark.parametrize(("stdout", "stderr"), [("Failed to initialize NVML\n", ""), ("", "Failed to initialize NVML")])
def test_a_driver_that_fails_is_undecided_and_says_why(
    stdout: str, stderr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, stdout, 18, stderr)
    with pytest.raises(Undecided, match="exit code 18: Failed to initialize NVML") as caught:
        find_gpus()
    assert caught.value.problems[0].next_step


# --- which of them is the target


def test_the_target_is_found_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, OTHER + OURS + OURS.replace(UUID, "GPU-2222"))
    assert find_target(CELL) == GPU


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("", "this machine has no NVIDIA GPU"),
        (OTHER, r"this machine has NVIDIA H200 \(9.0\), not RTX 5090 \(12.0\)"),
        (OTHER + OTHER, r"this machine has NVIDIA H200 \(9.0\), not"),
        # Of the same compute capability, and yet not what the image was promised to run on.
        (OURS.replace("RTX 5090", "RTX 5090 D"), r"this machine has RTX 5090 D \(12.0\), not RTX 5090 \(12.0\)"),
        (OURS.replace("12.0", "12.1"), r"this machine has RTX 5090 \(12.1\), not"),
        (OURS.replace("580.95.05", "565.57.01"), "the driver is 565.57.01, and 570.124.06 or newer is needed"),
        (OURS.replace("580.95.05", "570.86.15"), "the driver is 570.86.15, and 570.124.06 or newer is needed"),
        (OURS.replace("580.95.05", "99.124.06"), "the driver is 99.124.06"),
        (OURS.replace("580.95.05", "[N/A]"), r"the driver is \[N/A\], and"),
    ],
)
def test_anything_but_the_target_is_undecided(shown: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, shown)
    with pytest.raises(Undecided, match=said) as caught:
        find_target(CELL)
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE
    assert caught.value.problems[0].place == CELL.id


@pytest.mark.parametrize("driver", ["570.124.06", "570.133", "1000.1"])
def test_a_driver_that_is_just_new_enough_will_do(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, OURS.replace("580.95.05", driver))
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


def test_a_target_is_named_for_people() -> None:
    assert name_target(RTX) == "RTX 5090 (compute capability 12.0)"


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
    run_trial(docker.engine(), "sha256:" + "d" * 64, Path("/smoke"), SMOKE, {}, [request])
    run_trial(docker.engine(), "sha256:" + "d" * 64, Path("/smoke"), SMOKE, {})
    assert [options["device_requests"] for _, options in docker.created] == [[request], []]
