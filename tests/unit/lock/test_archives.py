"""The archives that the toolkit's recipes name: of the form of NVIDIA's manifests, and of one release for each line."""

from __future__ import annotations

import re

import pytest

from scripts.lock import read_slot, recipe_slot
from scripts.lock.wheels import lock_archive
from scripts.matrix import Recipe, Upstream, load_matrix
from tests.unit.builders import REPOSITORY_ROOT

MATRIX = load_matrix(REPOSITORY_ROOT)
TOOLKIT = MATRIX.images["toolkit"]
ADDRESS = re.compile(
    r"https://developer\.download\.nvidia\.com/compute/cuda/redist/"
    r"(?P<component>[a-z_]+)/linux-x86_64/(?P<file>(?P=component)-linux-x86_64-(?P<version>\d+(\.\d+)+)-archive\.tar\.xz)"
)
# What no package index has of CUDA 12, or has without what compilers need: static libraries, stubs, plain names.
COMPONENTS = {
    "cuda_nvcc",
    "cuda_cudart",
    "cuda_cccl",
    "cuda_nvml_dev",
    "cuda_nvtx",
    "cuda_profiler_api",
    "cuda_cuobjdump",
    "cuda_nvdisasm",
}
LINES = ["12.8", "12.9"]


def recipe_of(line: str) -> Recipe:
    return TOOLKIT.recipes["source", line]


def parts(archive: Upstream) -> re.Match[str]:
    match = ADDRESS.fullmatch(archive.url)
    assert match, f"{archive.url} is not of the form of NVIDIA's manifests"
    return match


@pytest.mark.parametrize("line", LINES)
def test_archives_have_the_addresses_of_nvidias_manifests_and_their_own_names(line: str) -> None:
    archives = recipe_of(line).archives
    assert {parts(archive)["component"] for archive in archives} == COMPONENTS
    assert len(archives) == len(COMPONENTS)
    for archive in archives:
        assert parts(archive)["file"] == archive.file
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256) and 1000 < archive.size < 200 << 20


@pytest.mark.parametrize("line", LINES)
def test_archives_and_wheels_are_of_the_release_that_the_matrix_names(line: str) -> None:
    recipe = recipe_of(line)
    assert recipe.version == recipe.revision == MATRIX.cuda[line].toolkit
    for archive in recipe.archives:
        assert parts(archive)["version"].startswith(f"{line}."), archive.file
    versions = {parts(archive)["component"]: parts(archive)["version"] for archive in recipe.archives}
    pins = dict(requirement.split("==") for requirement in recipe.requirements if "==" in requirement)
    # Headers come from the wheel, static libraries from the archive: they have to be of one build.
    assert pins["nvidia-cuda-runtime-cu12"] == versions["cuda_cudart"]
    assert pins["nvidia-nvtx-cu12"] == versions["cuda_nvtx"]
    assert pins["nvidia-cuda-nvrtc-cu12"] == versions["cuda_nvcc"]
    assert all(name.startswith("nvidia-") and name.endswith("-cu12") for name in pins)


def test_cuda_13_needs_no_archive() -> None:
    recipe = recipe_of("13.0")
    assert recipe.archives == () and recipe.version == MATRIX.cuda["13.0"].toolkit
    pins = dict(requirement.split("==") for requirement in recipe.requirements if "==" in requirement)
    assert pins["nvidia-cuda-nvcc"] == pins["nvidia-nvvm"] == pins["nvidia-cuda-crt"]


@pytest.mark.parametrize("line", LINES)
def test_the_lock_has_every_archive_with_its_address_and_by_its_bytes(line: str) -> None:
    files = read_slot(REPOSITORY_ROOT, recipe_slot(MATRIX, TOOLKIT, ("source", line))).files
    locked = {file.file: file for file in files if file.kind == "archive"}
    assert locked == {archive.file: lock_archive(archive) for archive in recipe_of(line).archives}


def test_an_archive_is_named_by_its_component_and_version() -> None:
    archive = recipe_of("12.9").archives[0]
    locked = lock_archive(archive)
    assert (locked.kind, locked.name, locked.version) == ("archive", "cuda_nvcc-linux-x86_64", "12.9.86")
    assert (locked.sha256, locked.size, locked.url) == (archive.sha256, archive.size, archive.url)
