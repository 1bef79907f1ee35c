"""What is said of the driver and its GPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.doctor.gpus import judge_gpus
from scripts.doctor.seen import Mark, Unseen
from scripts.smoke.gpu import Gpu
from tests.unit.doctor.made import H200, RTX, UUID, write_gpu_project

SECOND = replace(RTX, index="2", uuid="GPU-2")


def test_gpus_are_told_by_kind_with_their_driver() -> None:
    finding = judge_gpus([RTX, H200, SECOND], 3, None)
    assert finding.mark is Mark.THERE
    assert finding.text == "driver 580.95.05: 2 × NVIDIA GeForce RTX 5090 (12.0), NVIDIA H200 (9.0)"
    assert UUID not in finding.text


def test_no_gpu_is_no_fault() -> None:
    assert judge_gpus([], 0, None).mark is Mark.UNASKED
    assert judge_gpus([], Unseen("no bus"), None).mark is Mark.UNASKED


def test_a_gpu_without_a_driver_is_a_fault_with_the_driver_to_install(tmp_path: Path) -> None:
    finding = judge_gpus([], 2, write_gpu_project(tmp_path))
    assert finding.mark is Mark.MISSING and "2 of NVIDIA's on the PCI bus" in finding.text
    assert finding.next_step == "install NVIDIA's driver 580.95.05 or newer, and restart"
    assert judge_gpus([], 1, None).next_step == "install NVIDIA's driver, and restart"


def test_a_driver_that_fails_is_a_fault() -> None:
    finding = judge_gpus(Unseen("NVIDIA driver: the NVIDIA driver fails: Driver Not Loaded", "mend it"), 1, None)
    assert (finding.mark, finding.next_step) == (Mark.MISSING, "mend it")
    assert "nvidia-smi" in judge_gpus(Unseen("no answer within 75 s"), 1, None).next_step


@pytest.mark.parametrize(
    ("trouble", "mend"),
    [("in use by process 12", "end what uses it"), ("slowed down: too hot", "let it cool")],
)
def test_where_no_gpu_of_a_kind_is_sound_it_cannot_be_judged_on(trouble: str, mend: str) -> None:
    sick: list[Gpu] = [replace(RTX, trouble=trouble), H200]
    finding = judge_gpus(sick, 2, None)
    assert finding.mark is Mark.MISSING and finding.text.endswith(f"; GPU 0 {trouble}")
    assert mend in finding.next_step


def test_where_another_of_its_kind_is_sound_that_one_is_used() -> None:
    finding = judge_gpus([replace(RTX, trouble="in use by process 12"), SECOND], 2, None)
    assert finding.mark is Mark.THERE
    assert finding.text.endswith("2 × NVIDIA GeForce RTX 5090 (12.0); left out: GPU 0 in use by process 12")
