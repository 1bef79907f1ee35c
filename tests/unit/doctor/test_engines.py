"""What is said of the engine, of how it hands GPUs out, and of the limits that it keeps."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.doctor.engines import judge_access, judge_cgroup, judge_engine, judge_gate
from scripts.doctor.seen import Cgroup, EngineSeen, GateSeen, Mark, Unseen
from tests.unit.doctor.made import INFO, make_engine

STOPPED = make_engine(embedded=True, engine=None, version="26.1.5", info={}, why="no Docker Engine answers at x")


def test_the_hosts_engine_is_told_with_what_makes_it_do() -> None:
    finding = judge_engine(make_engine())
    assert finding.mark is Mark.THERE
    assert finding.text == "host's Docker Engine 28.5.1, containerd image store, buildx v0.30.1"


def test_the_embedded_engine_is_told_with_why_it_is_not_the_hosts() -> None:
    finding = judge_engine(STOPPED)
    assert finding.mark is Mark.THERE
    assert finding.text == ("embedded Docker Engine 26.1.5 (no Docker Engine answers at x), stopped: a build starts it")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Unseen("the lock is damaged"), "the lock is damaged"),
        (make_engine(lacking="too old", next_step="install 26"), "too old"),
        (
            make_engine(embedded=True, lacking="it needs root", next_step="run as root"),
            "embedded Docker Engine 28.5.1: it needs root",
        ),
        (make_engine(embedded=True, info={**INFO, "DriverStatus": None}), "does not use the containerd image store"),
        (make_engine(embedded=True, version="25.0.1"), "Docker Engine 25.0.1 is too old"),
    ],
)
def test_an_engine_that_will_not_do_is_missing_and_mended(seen: EngineSeen | Unseen, said: str) -> None:
    finding = judge_engine(seen)
    assert finding.mark is Mark.MISSING
    assert said in finding.text and finding.next_step


def test_how_each_gpu_is_handed_out() -> None:
    finding = judge_access(make_engine(), {"0": "cdi", "1": "nvidia", "2": "cdi"})
    assert finding.mark is Mark.THERE
    assert finding.text == "the engine hands GPUs out by CDI (GPU 0, 2) and NVIDIA's runtime (GPU 1)"


def test_one_gpu_that_is_not_handed_out_is_missing() -> None:
    finding = judge_access(make_engine(), {"0": "cdi", "1": Unseen("knows no device", "install the toolkit")})
    assert (finding.mark, finding.text, finding.next_step) == (
        Mark.MISSING,
        "GPU 1: knows no device",
        "install the toolkit",
    )


@pytest.mark.parametrize("seen", [STOPPED, Unseen("gone"), make_engine(lacking="too old")])
def test_an_engine_that_does_not_run_is_not_known_to_hand_a_gpu_out(seen: EngineSeen | Unseen) -> None:
    assert judge_access(seen, {"0": ""}).mark is Mark.MISSING


def test_a_stopped_engine_is_to_be_started_before_it_is_asked() -> None:
    assert "engine -- up" in judge_access(STOPPED, {"0": ""}).next_step


def test_without_a_gpu_nothing_is_to_be_handed_out() -> None:
    assert judge_access(Unseen("gone"), {}).mark is Mark.UNASKED


@pytest.mark.parametrize(
    ("info", "mark", "said"),
    [
        ({}, Mark.THERE, "v2, the engine limits memory and processes"),
        ({"CgroupVersion": "1"}, Mark.THERE, "v1, the engine limits"),
        ({"SwapLimit": False}, Mark.THERE, "not swap"),
        ({"MemoryLimit": False}, Mark.MISSING, "v2: the engine cannot limit memory"),
        ({"PidsLimit": False}, Mark.MISSING, "v2: the engine cannot limit processes"),
        ({"MemoryLimit": False, "PidsLimit": False}, Mark.MISSING, "memory or processes"),
    ],
)
def test_what_a_running_engine_says_of_limits_counts(info: dict[str, Any], mark: Mark, said: str) -> None:
    finding = judge_cgroup(Cgroup("2", memory=False), make_engine(info={**INFO, **info}))
    assert finding.mark is mark and said in finding.text
    assert bool(finding.next_step) is (mark is Mark.MISSING)


@pytest.mark.parametrize("engine", [STOPPED, Unseen("gone")])
@pytest.mark.parametrize(
    ("seen", "mark", "said"),
    [
        (Cgroup("2", memory=True), Mark.THERE, "v2, limits memory"),
        (Cgroup("1", memory=False), Mark.MISSING, "v1 cannot limit memory"),
        (Unseen("/sys/fs/cgroup: No such file or directory"), Mark.MISSING, "No such file"),
    ],
)
def test_without_a_running_engine_the_kernel_is_believed(
    engine: EngineSeen | Unseen, seen: Cgroup | Unseen, mark: Mark, said: str
) -> None:
    finding = judge_cgroup(seen, engine)
    assert finding.mark is mark and said in finding.text


HOST = "ssh://me@gpubox"


def test_another_machine_that_tests_is_told_with_its_way_to_gpus() -> None:
    assert judge_gate(None, "") == []
    [finding] = judge_gate(GateSeen(HOST, "28.5.1", "cdi"), HOST)
    assert finding.mark is Mark.THERE
    assert finding.text == f"candidates are tested and tagged at {HOST}: Docker Engine 28.5.1, GPUs by CDI"


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Unseen("no Docker Engine answers there", "see that it answers"), "no Docker Engine answers there"),
        (Unseen("no answer within 75 s"), "no answer within 75 s"),
        (GateSeen(HOST, "28.5.1", refusal=Unseen("knows no device", "install the toolkit")), "knows no device"),
    ],
)
def test_another_machine_that_could_not_test_is_missing(seen: GateSeen | Unseen, said: str) -> None:
    [finding] = judge_gate(seen, HOST)
    assert finding.mark is Mark.MISSING and HOST in finding.text and said in finding.text and finding.next_step
