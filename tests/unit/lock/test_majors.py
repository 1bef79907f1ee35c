from __future__ import annotations

import pytest

from scripts.errors import ConfigError
from scripts.lock.lockfile import read_lock
from scripts.lock.majors import find_major, find_other_majors
from scripts.matrix import OtherCuda
from scripts.model import LockedFile
from tests.unit.builders import REPOSITORY_ROOT, lock_bytes


def wheel(name: str, version: str = "1.0") -> LockedFile:
    return lock_bytes(name.encode(), name=name, version=version)


def problems(line: str, *files: LockedFile, excused: tuple[str, ...] = ()) -> list[str]:
    rules = [OtherCuda(excused, "why")] if excused else []
    return [" ".join(str(p).split()) for p in find_other_majors(line, files, rules, "image.toml")]


@pytest.mark.parametrize(
    ("name", "version", "major"),
    [
        ("nvidia-cublas-cu12", "12.8.4.1", 12),
        ("nvidia-cudnn-cu13", "9.20.0.48", 13),
        ("nvidia-cutlass-dsl-libs-cu12", "4.8.0", 12),
        ("nvshmem4py-cu13", "0.4.1", 13),
        ("cupy-cuda12x", "14.0", 12),
        ("flashinfer-jit-cache-cu128", "0.5", 12),
        ("torch", "2.10.0+cu128", 12),
        ("torch", "2.13.0+cu130", 13),
        ("torch", "2.13.0+cu130.sm120", 13),
        ("sgl-kernel", "0.4+cu13", 13),
        ("cuda-python", "12.6.2.post1", 12),
        ("cuda-bindings", "13.5.0", 13),
        ("cuda-toolkit", "13.0.3.0", 13),
        ("nvidia-cuda-nvcc", "13.0.88", 13),
        ("nvidia-cublas", "13.1.1.3", 13),
        ("nvidia-nvjitlink", "13.5.37", 13),
        ("nvidia-cufft", "12.0.0.61", 13),
        ("nvidia-cufile", "1.15.1.6", 13),
        ("torch", "2.10.0", None),
        ("torch", "2.13.0+cpu", None),
        ("cuda-pathfinder", "1.9.0", None),
        ("cuda-core", "1.2.2", None),
        ("nvidia-ml-py", "13.615.71", None),
        ("nvidia-cudnn-frontend", "1.32.0", None),
        ("nvidia-cutlass-dsl", "4.8.0", None),
        ("numpy", "13.0", None),
    ],
)
def test_names_and_versions_tell_the_major(name: str, version: str, major: int | None) -> None:
    assert find_major(wheel(name, version)) == major


def test_a_set_of_one_major_is_fine() -> None:
    assert problems("12.8", wheel("torch", "2.10.0"), wheel("nvidia-cublas-cu12"), wheel("cuda-bindings", "12.9")) == []
    assert problems("cpu", wheel("torch", "2.13.0+cpu")) == []


def test_a_distribution_of_another_major_is_refused_by_name() -> None:
    [problem] = problems("13.0", wheel("cuda-python", "12.6.2.post1"), wheel("nvidia-cufft", "12.0"))
    assert problem == (
        "image.toml: cuda-python 12.6.2.post1 is for CUDA 12, and the others are for CUDA 13 next: pin what is for the "
        "same CUDA, or add an [[other-cuda]] to image.toml that says why it may be there"
    )


def test_the_line_says_which_major_is_expected_however_many_are_of_another() -> None:
    assert len(problems("12.8", wheel("nvidia-cublas", "13.1"), wheel("nvidia-cufft", "12.0"))) == 2


def test_an_image_without_cuda_has_none_at_all() -> None:
    [problem] = problems("cpu", wheel("nvidia-cublas-cu12"))
    assert "is for CUDA 12, and this image has none" in problem


def test_a_rule_excuses_what_it_names_and_nothing_else() -> None:
    files = (wheel("a-cu12"), wheel("b-cu12"), wheel("c-cu13"))
    [problem] = problems("13.0", *files, excused=("a-cu12",))
    assert problem.startswith("image.toml: b-cu12 1.0 is for CUDA 12")


@pytest.mark.parametrize("name", ["absent", "c-cu13"])
def test_a_rule_that_excuses_nothing_is_refused(name: str) -> None:
    [problem] = problems("13.0", wheel("a-cu12"), wheel("c-cu13"), excused=("a-cu12", name))
    assert (
        problem
        == f"image.toml: [[other-cuda]]: `{name}` is not there, or not of another CUDA next: correct it, or delete it"
    )


def test_a_version_that_is_none_is_a_damaged_lock() -> None:
    with pytest.raises(ConfigError, match="run `nox -s lock`"):
        find_major(wheel("torch", "two"))


def test_the_repositorys_own_locks_name_every_distribution_of_cuda_by_one_major() -> None:
    for path in sorted(REPOSITORY_ROOT.glob("images/*/lock/wheel-cu*.toml")):
        majors = [find_major(file) for file in read_lock(path, path.name).files if "cutlass" not in file.name]
        assert {major for major in majors if major} == {int(path.stem.removeprefix("wheel-cu")[:2])}, path
