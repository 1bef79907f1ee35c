"""Which cell or tag is for a GPU and its driver, and what would change where none is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.doctor.images import judge_images, list_choices, list_needs
from scripts.doctor.seen import Finding, Mark
from scripts.matrix import Matrix, load_matrix
from scripts.smoke.gpu import Gpu
from tests.unit.builders import REPOSITORY_ROOT, edit
from tests.unit.doctor.made import H200, RTX, write_gpu_project

REGISTRY = "registry.example.com/team"
ALL = [("serve", "cu130-5090-wheel"), ("train", "cu130-5090-wheel")]


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    return write_gpu_project(tmp_path)


def judge(
    matrix: Matrix, *gpus: Gpu, registry: str = "", tags: Collection[tuple[str, str]] | None = ()
) -> list[Finding]:
    return judge_images(matrix, list_choices(matrix, gpus), registry, tags)


def test_the_newest_line_is_what_to_build(matrix: Matrix) -> None:
    [finding] = judge(matrix, RTX)
    assert finding.mark is Mark.THERE
    assert finding.text == (
        "for NVIDIA GeForce RTX 5090: not tagged yet: "
        "`nox -s build-5090 -- serve-cu130-5090-wheel train-cu130-5090-wheel`"
    )


def test_what_is_tagged_is_what_to_pull(matrix: Matrix) -> None:
    [finding] = judge(matrix, RTX, registry=REGISTRY, tags=ALL)
    assert finding.text == (
        f"for NVIDIA GeForce RTX 5090: `docker pull` {REGISTRY}/serve:cu130-5090-wheel, "
        f"{REGISTRY}/train:cu130-5090-wheel"
    )
    [finding] = judge(matrix, RTX, tags=ALL)
    assert "here: hallmark/serve:cu130-5090-wheel, hallmark/train" in finding.text


def test_an_older_one_that_is_tagged_is_better_than_a_newer_one_that_is_not(matrix: Matrix) -> None:
    tags = [("serve", "cu128-5090-wheel"), ("serve", "cu128-5090")]
    [finding] = judge(matrix, RTX, registry=REGISTRY, tags=tags)
    assert f"`docker pull` {REGISTRY}/serve:cu128-5090; not tagged yet: `nox" in finding.text
    assert finding.text.endswith("-- train-cu130-5090-wheel`")


def test_where_nobody_could_be_asked_nothing_is_promised(matrix: Matrix) -> None:
    [finding] = judge(matrix, RTX, registry=REGISTRY, tags=None)
    assert f"{REGISTRY}/serve:cu130-5090-wheel" in finding.text
    assert "if they are there, which nobody could be asked; `nox -s build-5090" in finding.text
    assert "docker pull" not in finding.text and "not tagged" not in finding.text


def test_an_older_driver_has_an_older_line_and_is_told_what_a_newer_one_opens(matrix: Matrix) -> None:
    [finding] = judge(matrix, replace(RTX, driver="579.99"))
    assert finding.mark is Mark.THERE
    assert finding.text == (
        "for NVIDIA GeForce RTX 5090: not tagged yet: `nox -s build-5090 -- serve-cu128-5090`; "
        "CUDA 13.0 from driver 580.95.05"
    )


@pytest.mark.parametrize(
    ("driver", "fits"),
    [("570.124.06", True), ("570.124.05", False), ("580.95.04", True), ("99", False), ("[N/A]", False)],
)
def test_the_floor_of_the_line_counts(driver: str, fits: bool, matrix: Matrix) -> None:
    [finding] = judge(matrix, replace(RTX, driver=driver))
    assert finding.mark is (Mark.THERE if fits else Mark.MISSING)


def test_a_driver_that_is_too_old_for_all_is_told_which_would_do(matrix: Matrix) -> None:
    [finding] = judge(matrix, replace(RTX, driver="565.57.01"))
    assert finding.mark is Mark.MISSING
    assert finding.text.startswith("driver 565.57.01 is too old for every image for NVIDIA GeForce RTX 5090: ")
    assert "CUDA 13.0 from driver 580.95.05" in finding.text and "CUDA 12.8 from driver 570.124.06" in finding.text
    assert finding.next_step == "install NVIDIA's driver 580.95.05, or at least 570.124.06"


def test_the_targets_own_floor_counts_too(matrix: Matrix) -> None:
    [finding] = judge(matrix, replace(H200, driver="580.99"))
    assert finding.mark is Mark.MISSING
    assert finding.next_step == "install NVIDIA's driver 580.100"


def test_a_gpu_of_no_target_is_told_the_nearest(matrix: Matrix) -> None:
    [finding] = judge(matrix, replace(RTX, name="NVIDIA GeForce RTX 5080"))
    assert finding.mark is Mark.MISSING
    assert "NVIDIA GeForce RTX 5080 (12.0) is no target; nearest: 5090 (" in finding.text
    assert "pro6000 (NVIDIA RTX PRO 6000, 12.0), built for the same compute capability" in finding.text
    assert "h200" not in finding.text and "Add a GPU" in finding.next_step


@pytest.mark.parametrize(
    ("compute", "nearest", "other"),
    [("8.9", "h200", "5090"), ("8.0", "h200", "5090"), ("10.0", "h200", "5090"), ("12.1", "5090", "h200")],
)
def test_the_nearest_is_by_compute_capability(compute: str, nearest: str, other: str, matrix: Matrix) -> None:
    [finding] = judge(matrix, replace(RTX, name="X", compute=compute))
    assert f"nearest: {nearest} (" in finding.text and f"{other} (" not in finding.text
    assert finding.text.endswith("for another compute capability")


@pytest.mark.parametrize("wrong", [{"name": "RTX 5090"}, {"compute": "12.1"}])
def test_name_and_compute_capability_must_both_be_the_targets(wrong: dict[str, Any], matrix: Matrix) -> None:
    [finding] = judge(matrix, replace(RTX, **wrong))
    assert finding.mark is Mark.MISSING and "is no target" in finding.text


def test_a_gpu_for_which_nothing_is_beside_one_for_which_there_is_something_is_no_fault(matrix: Matrix) -> None:
    marks = [finding.mark for finding in judge(matrix, replace(RTX, name="NVIDIA T400", compute="7.5"), RTX)]
    assert marks == [Mark.UNASKED, Mark.THERE]


def test_gpus_of_one_kind_are_one_line(matrix: Matrix) -> None:
    assert len(judge(matrix, RTX, replace(RTX, index="1"), H200)) == 2


def test_a_target_for_which_no_recipe_is_written_says_so(matrix: Matrix) -> None:
    images = {name: replace(image, recipes={}) for name, image in matrix.images.items()}
    [finding] = judge(replace(matrix, images=images), RTX)
    assert (
        finding.mark is Mark.MISSING and "no image has a recipe" in finding.text and "nox -s plan" in finding.next_step
    )


def test_images_that_nobody_starts_on_a_gpu_are_not_offered(matrix: Matrix) -> None:
    edit(matrix.root / "images/train/image.toml", "guard = true\n", "")
    [finding] = judge(load_matrix(matrix.root), RTX)
    assert "serve" in finding.text and "train" not in finding.text


def test_without_a_gpu_the_cpus_images_are_offered(matrix: Matrix) -> None:
    [finding] = judge(matrix)
    assert finding.mark is Mark.UNASKED and "`nox -s build-cpu`" in finding.text


def test_memory_is_needed_by_what_can_be_tested_here(matrix: Matrix) -> None:
    edit(matrix.root / "images/serve/image.toml", "memory_gib = 2", "memory_gib = 24")
    changed = load_matrix(matrix.root)
    assert list_needs(changed, []) == {"serve-cpu": 24, "train-cpu": 2}
    needs = list_needs(changed, list_choices(changed, [RTX]))
    assert needs["serve-cu130-5090-wheel"] == 24 and not any("h200" in cell for cell in needs)


def test_a_scenario_that_decides_nothing_needs_no_memory(matrix: Matrix) -> None:
    edit(matrix.root / "images/serve/image.toml", "memory_gib = 2", "memory_gib = 24\nrequired = false")
    text = (matrix.root / "images/serve/image.toml").read_text()
    more = '[[scenario]]\nname = "more"\nchecks = ["load"]\ntimeout_s = 60\nmemory_gib = 3\n'
    (matrix.root / "images/serve/image.toml").write_text(text + more)
    assert list_needs(load_matrix(matrix.root), [])["serve-cpu"] == 3


def test_of_the_real_matrix_a_5090_is_offered_both_engines_and_pytorch() -> None:
    matrix = load_matrix(REPOSITORY_ROOT)
    newest = list(matrix.cuda.values())[-1]
    [finding] = judge(matrix, replace(RTX, driver=newest.driver))
    for image in ("pytorch", "sglang", "vllm"):
        assert f"{image}-{newest.slug}-5090" in finding.text
    assert "toolkit" not in finding.text
