"""GPUs of another machine: what is asked there, that it is asked safely, and what nobody can tell."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pynvml
import pytest
import requests
from docker.errors import APIError

from scripts.errors import Undecided
from scripts.smoke import away as module
from scripts.smoke import nvml
from scripts.smoke.away import Watcher, describe_there, find_gpus_there
from scripts.smoke.gpu import Gpu
from tests.unit.fake_docker import FakeContainer, FarDocker, raise_

DIGEST = "sha256:" + "d" * 64
HOST = "ssh://me@gpubox"
GPU = Gpu("0", "GPU-8f3c", "RTX 5090", "12.0", "580.95.05", memory=32_607 << 20)
SEEN = {"xids": {"31": 2}, "slowed": ["too hot"], "celsius": 71, "fault": "", "untold": ""}
ALL = {
    "index": "0",
    "uuid": "GPU-8f3c",
    "name": "RTX 5090",
    "compute": "12.0",
    "driver": "580.95.05",
    "trouble": "",
    "memory": 32_607 << 20,
}


def far(said: Any = None, *, stderr: bytes = b"", hangs: bool = False, **info: Any) -> FarDocker:
    """An engine with a GPU, whose containers print this."""
    docker = FarDocker()

    def behave(container: FakeContainer) -> None:
        text = said if isinstance(said, str) else json.dumps(said)
        container.stdout, container.stderr, container.hangs = text.encode(), stderr, hangs

    docker.behave = behave
    there = docker.info() | {"Runtimes": {"nvidia": {}}} | info
    docker.info = lambda: docker.check() or there  # type: ignore[method-assign, func-returns-value]
    return docker


def look(gpus: Any, error: str = "", cpu: str = "AMD Ryzen 9") -> dict[str, Any]:
    return {"cpu": cpu, "gpus": gpus, "error": error}


def left(docker: FarDocker) -> list[str]:
    return [name for name, each in docker.made.items() if not each.removed]


# --- which there are


def test_the_gpus_are_those_that_a_container_there_sees() -> None:
    docker = far(look([ALL, ALL | {"index": "1", "trouble": "in use by process 12"}]))
    assert find_gpus_there(docker.far_engine(), DIGEST) == [
        GPU,
        Gpu("1", "GPU-8f3c", "RTX 5090", "12.0", "580.95.05", "in use by process 12", 32_607 << 20),
    ]
    assert left(docker) == [] and docker.volumes == {}


def test_what_asks_is_our_own_program_and_can_do_nothing_else() -> None:
    docker = far(look([ALL]))
    find_gpus_there(docker.far_engine(), DIGEST)
    image, options = docker.created[-1]
    assert image == DIGEST and options["entrypoint"] == ["python3", "-B", "/hallmark/nvml.py", "look"]
    assert options["command"] == [] and options["pid_mode"] == "host", "or no program that uses the GPU would be seen"
    assert options["network_mode"] == "none" and options["read_only"] is True and options["user"] == "65534:65534"
    assert options["cap_drop"] == ["ALL"] and options["security_opt"] == ["no-new-privileges"]
    assert options["mem_limit"] == options["memswap_limit"] == 1 << 30 and options["pids_limit"] == 64
    [request] = options["device_requests"]
    assert (request.driver, request.count, request.capabilities) == ("nvidia", -1, [["gpu"]])
    [seen] = docker.seen
    assert seen["/hallmark/nvml.py"] == Path(nvml.__file__).read_bytes()
    assert seen["/hallmark/pynvml.py"] == Path(pynvml.__file__).read_bytes()
    assert seen["/hallmark"] == 0o755


def test_all_devices_are_asked_for_by_name_where_the_engine_knows_them() -> None:
    docker = far(look([ALL]), DiscoveredDevices=[{"ID": "nvidia.com/gpu=all"}])
    find_gpus_there(docker.far_engine(), DIGEST)
    [request] = docker.created[-1][1]["device_requests"]
    assert (request.driver, request.device_ids) == ("cdi", ["nvidia.com/gpu=all"])


def test_an_engine_that_hands_out_none_is_asked_nothing_more() -> None:
    docker = far(look([ALL]), Runtimes={})
    with pytest.raises(Undecided, match="has no NVIDIA runtime") as caught:
        find_gpus_there(docker.far_engine(), DIGEST)
    [problem] = caught.value.problems
    assert problem.place == HOST and "NVIDIA Container Toolkit" in problem.next_step and docker.created == []
    assert "host's engine" not in problem.next_step


def test_a_driver_that_fails_there_is_undecided_and_says_where() -> None:
    with pytest.raises(Undecided, match="the NVIDIA driver fails: Driver Not Loaded") as caught:
        find_gpus_there(far(look([], "Driver Not Loaded")).far_engine(), DIGEST)
    assert caught.value.problems[0].place == HOST and "`nvidia-smi` says there" in caught.value.problems[0].next_step


@pytest.mark.parametrize(
    "said", ["", "Traceback", "[]", "{}", '{"gpus": []}', look([{"name": "RTX 5090"}]), look([ALL | {"speed": 1}])]
)
def test_what_the_program_cannot_have_said_is_undecided(said: Any) -> None:
    docker = far(said, stderr=b"python3: not found\n")
    with pytest.raises(Undecided, match="the machine did not say what it has") as caught:
        find_gpus_there(docker.far_engine(), DIGEST)
    assert caught.value.problems[0].place == HOST and left(docker) == []
    assert ("python3: not found" in str(caught.value)) is (said == "")


@pytest.mark.parametrize("when", ["create", "start", "wait"])
def test_a_connection_that_is_lost_is_undecided(when: str) -> None:
    docker = far(look([ALL]))
    lose = lambda: raise_(requests.ConnectionError("gone"))  # noqa: E731
    behave = docker.behave

    def lost(container: FakeContainer) -> None:
        behave(container)
        container.on_start = lose if when == "start" else container.on_start
        container.on_wait = lose if when == "wait" else container.on_wait

    docker.behave = lost
    docker.on_create = lose if when == "create" else docker.on_create
    with pytest.raises(Undecided, match="the engine failed") as caught:
        find_gpus_there(docker.far_engine(), DIGEST)
    assert caught.value.problems[0].place == HOST and left(docker) == []


# --- the machine


def test_a_machine_is_asked_once_what_it_is_and_its_name_is_not_kept() -> None:
    docker = far(look([]))
    engine = docker.far_engine()
    described = describe_there(engine, DIGEST)
    assert described == describe_there(engine, DIGEST) == {"cpu": "32 × AMD Ryzen 9", "kernel": "6.1.0"}
    assert len(docker.seen) == 1 and docker.created[-1][1]["device_requests"] == []


# --- what is seen of one


def test_a_watch_says_what_it_saw_when_it_is_told_to_end() -> None:
    docker = far(SEEN, hangs=True)
    watcher = Watcher(docker.far_engine(), DIGEST, GPU, 600)
    assert left(docker) == ["hallmark-gpu-GPU-8f3c"]
    image, options = docker.created[-1]
    assert image == DIGEST and options["entrypoint"][2:] == ["/hallmark/nvml.py", "watch", "GPU-8f3c", "1800"]
    assert "pid_mode" not in options and options["network_mode"] == "none"
    [request] = options["device_requests"]
    assert request.device_ids == ["GPU-8f3c"], "no other is in its reach"
    assert watcher.end() == SEEN | {"xids": {31: 2}, "slowed": ("too hot",)}
    assert left(docker) == []


@pytest.mark.parametrize(
    "said", ["", "Traceback", "[1]", {"xids": {}}, SEEN | {"xids": {"x": 1}}, SEEN | {"xids": 3}, SEEN | {"slowed": 3}]
)
def test_a_watch_that_says_something_else_is_a_fault(said: Any) -> None:
    docker = far(said, hangs=True)
    facts = Watcher(docker.far_engine(), DIGEST, GPU, 600).end()
    assert facts["fault"].startswith("its watch is lost") and left(docker) == []


def test_a_watch_that_ended_before_it_was_told_to_is_a_fault() -> None:
    docker = far(SEEN)
    assert Watcher(docker.far_engine(), DIGEST, GPU, 600).end()["fault"] == "its watch is lost (APIError)"
    assert left(docker) == []


def test_a_connection_that_is_lost_meanwhile_is_a_fault_and_no_exception() -> None:
    docker = far(SEEN, hangs=True)
    watcher = Watcher(docker.far_engine(), DIGEST, GPU, 600)
    docker.alive = False
    assert watcher.end()["fault"] == "its watch is lost (ConnectionError)"


def test_a_watch_that_cannot_begin_is_undecided() -> None:
    docker = far(SEEN)
    behave = docker.behave

    def refuse(container: FakeContainer) -> None:
        behave(container)
        container.on_start = lambda: raise_(APIError("could not select device driver"))

    docker.behave = refuse
    with pytest.raises(Undecided, match="could not select device driver"):
        Watcher(docker.far_engine(), DIGEST, GPU, 600)
    assert left(docker) == []


# --- one run at a time on a GPU, wherever it was started


def test_another_machines_test_is_waited_for(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    docker = far(SEEN, hangs=True)
    first = Watcher(docker.far_engine(), DIGEST, GPU, 600)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            first.end()

    monkeypatch.setattr(time, "sleep", sleep)
    second = Watcher(docker.far_engine(), DIGEST, GPU, 600)
    assert len(slept) == 3 and left(docker) == ["hallmark-gpu-GPU-8f3c"]
    assert capsys.readouterr().err.count(f"waiting for another machine's test on RTX 5090 0 of {HOST} to end") == 1
    second.end()


def test_another_gpus_test_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: raise_(AssertionError("waited")))
    docker = far(SEEN, hangs=True)
    for number in range(2):
        Watcher(docker.far_engine(), DIGEST, Gpu(str(number), f"GPU-{number}", "RTX 5090", "12.0", "580"), 600)
    assert len(left(docker)) == 2


def test_what_a_run_that_was_killed_left_is_taken_over() -> None:
    docker = far(SEEN, hangs=True)
    Watcher(docker.far_engine(), DIGEST, GPU, 600)
    docker.made["hallmark-gpu-GPU-8f3c"].status = "exited"  # its own time was over
    assert Watcher(docker.far_engine(), DIGEST, GPU, 600).end()["fault"] == ""


def test_one_that_was_made_and_never_started_is_taken_over_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = far(SEEN, hangs=True)
    Watcher(docker.far_engine(), DIGEST, GPU, 600)
    docker.made["hallmark-gpu-GPU-8f3c"].status = "created"
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    Watcher(docker.far_engine(), DIGEST, GPU, 600).end()
    assert now[0] > module.STARTING_S


def test_two_that_come_at_once_have_it_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = far(SEEN, hangs=True)
    engine = docker.far_engine()
    first: list[Watcher] = []
    taken = threading.Event()

    def come_first() -> None:
        if len(docker.made) == 1 and not taken.is_set():  # between the other's question and its container
            taken.set()
            first.append(Watcher(docker.far_engine(), DIGEST, GPU, 600))

    docker.on_put = come_first
    monkeypatch.setattr(time, "sleep", lambda seconds: first[0].end())
    second = Watcher(engine, DIGEST, GPU, 600)
    assert taken.is_set() and second.end()["fault"] == "" and left(docker) == []
