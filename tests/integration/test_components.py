"""The build scripts of PyTorch, torchvision and SGLang's kernels, up to the compiler, with stand-ins for the sources.

A stand-in has its project's build interface, and fails where a switch that matters is missing from what it is given.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.errors import Problem
from scripts.matrix import Component
from scripts.matrix.read_components import load_components

ROOT = Path(__file__).resolve().parents[2]
STANDINS = Path(__file__).with_name("standins")
PROBLEMS: list[Problem] = []
COMPONENTS = load_components(ROOT, PROBLEMS, ("12.8", "12.9", "13.0"))

PYTORCH = {
    "TORCH_CUDA_ARCH_LIST": "12.0",
    "USE_CUDA": "1",
    "USE_CUDNN": "1",
    "USE_SYSTEM_NCCL": "1",
    "USE_STATIC_NCCL": "0",
    "USE_STATIC_CUDNN": "0",
    "USE_NUMA": "0",
    "USE_MPI": "0",
    "USE_ITT": "0",
    "USE_MAGMA": "0",
    "USE_NNPACK": "0",
    "USE_CUDSS": "0",
    "USE_CUSPARSELT": "1",
    "USE_CUFILE": "1",
    "USE_CUPTI_SO": "1",
    "USE_DISTRIBUTED": "1",
    "USE_GLOO": "1",
    "USE_NCCL": "1",
    "BUILD_TEST": "0",
    "INSTALL_TEST": "0",
    "TH_BINARY_BUILD": "1",
    "ATEN_STATIC_CUDA": "0",
    "USE_CUDA_STATIC_LINK": "0",
    "NCCL_INCLUDE_DIR": "/cuda/include",
    "NCCL_LIB_DIR": "/cuda/lib64",
    "TORCH_NVCC_FLAGS": "-Xfatbin -compress-all",
    "CMAKE_CUDA_FLAGS": "-w -Xptxas -w",
    "PYTORCH_BUILD_VERSION": "{version}",
    "PYTORCH_BUILD_NUMBER": "1",
    "PYTORCH_EXTRA_INSTALL_REQUIREMENTS": "{requires}",
    "USE_FBGEMM_GENAI": "0",
    "USE_MSLK": "0",
    "USE_FLASH_ATTENTION": "1",
    "USE_MEM_EFF_ATTENTION": "1",
}
TORCHVISION = {
    "FORCE_CUDA": "1",
    "TORCH_CUDA_ARCH_LIST": "12.0",
    "BUILD_VERSION": "{version}",
    "PYTORCH_VERSION": "{torch}",
    "TORCHVISION_USE_PNG": "0",
    "TORCHVISION_USE_JPEG": "0",
    "TORCHVISION_USE_WEBP": "0",
    "TORCHVISION_USE_NVJPEG": "0",
}
SGLANG = (
    "-DENABLE_BELOW_SM90=OFF",
    "-DSGL_KERNEL_ENABLE_FA3=OFF",
    "-DSGL_KERNEL_COMPILE_THREADS=1",
    "-DCMAKE_POLICY_VERSION_MINIMUM=3.5",
    "-DFETCHCONTENT_FULLY_DISCONNECTED=ON",
)
CMAKE = """\
set(SGL_KERNEL_CUDA_FLAGS
    "-gencode=arch=compute_90,code=sm_90"
)
{forced}
set(SOURCES
    "csrc/one.cu"
)
install(TARGETS common_ops_sm90_build LIBRARY DESTINATION sgl_kernel/sm90)
install(TARGETS common_ops_sm100_build LIBRARY DESTINATION sgl_kernel/sm100)
{infllm}
include(${{CMAKE_CURRENT_LIST_DIR}}/cmake/flashmla.cmake)
"""


def run_build(
    component: Component, source: Path, expected: Mapping[str, str], script: str = "", **variables: str
) -> tuple[int, str, list[Path]]:
    """Run a component's build script on a stand-in as a compile step does; its exit status, output and wheels."""
    line = next(iter(component.lines))
    wheels = source.parent / "wheels"
    wheels.mkdir()
    path = source.parent / "build"
    path.write_text(script or component.script.read_text())
    environment = {
        "PATH": f"{STANDINS / 'bin'}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/bin",
        "PYTHONPATH": str(STANDINS / "modules"),
        "HOME": str(source.parent),
        "WHEELS": str(wheels),
        "CUDA_HOME": "/cuda",
        "CUDA_LINE": line,
        "ARCHITECTURE": "sm120",
        "COMPUTE": "12.0",
        "TORCH_CUDA_ARCH_LIST": "12.0",
        "MAX_JOBS": "1",
        "VERSION": f"{component.version}+here",
        "SOURCE_DATE_EPOCH": "1767225600",
        "CMAKE_CUDA_COMPILER_LAUNCHER": "unit;ccache",
        **component.arguments,
        **variables,
    }
    marks = {
        "version": environment["VERSION"],
        "torch": component.arguments.get("TORCH", ""),
        "requires": requires(component),
    }
    (source / "expected").write_text("".join(f"{name}={value.format(**marks)}\n" for name, value in expected.items()))
    run = subprocess.run(
        ["sh", str(path)], cwd=source, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    return run.returncode, run.stdout + run.stderr, sorted(wheels.iterdir())


def requires(component: Component) -> str:
    """What the metadata of a compiled PyTorch has to ask for: NVIDIA's wheels as pinned, and what goes with it."""
    pins = [item for line in component.lines.values() for item in line.requirements if item.startswith("nvidia-")]
    return "|".join([*sorted(pins), *component.arguments.get("REQUIRES", "").split("|")])


def stand_in(folder: Path, name: str) -> Path:
    source = folder / "src" / name
    shutil.copytree(STANDINS / "project", source)
    (source / "name").write_text(name)
    return source


def components(*names: str) -> list[Component]:
    return [component for component in COMPONENTS.values() if component.name in names]


def pins(component: Component) -> str:
    """For the stand-in of importlib.metadata: the wheels of the environment."""
    return " ".join(item for line in component.lines.values() for item in line.requirements if "==" in item)


@pytest.mark.parametrize("component", components("torch"), ids=lambda component: component.id)
def test_pytorch_is_told_everything(component: Component, tmp_path: Path) -> None:
    source = stand_in(tmp_path, "torch")
    status, output, wheels = run_build(component, source, PYTORCH, ENVIRONMENT_HAS=pins(component))
    assert status == 0, output
    assert [wheel.name for wheel in wheels] == [f"torch-{component.version}+here-cp311-cp311-linux_x86_64.whl"]
    with zipfile.ZipFile(wheels[0]) as archive:
        inner, outer = archive.read("torch/lib/libtorch.so").decode(), archive.read("torch/_C.so").decode()
    assert "$ORIGIN/../../nvidia/cublas/lib:" in inner and inner.rstrip().endswith(":$ORIGIN")
    assert "$ORIGIN/../nvidia/nccl/lib:" in outer and outer.rstrip().endswith(":$ORIGIN:$ORIGIN/lib")


@pytest.mark.parametrize("switch", [name for name in PYTORCH if name != "TORCH_CUDA_ARCH_LIST"])
def test_pytorch_without_a_switch_is_refused(switch: str, tmp_path: Path) -> None:
    component = components("torch")[0]
    script = component.script.read_text()
    lines = [line for line in script.splitlines() if line.startswith(("export", "PYTORCH_EXTRA")) and switch in line]
    assert lines, f"{switch} is set by nobody"
    script = script.replace("python3 -m build", f"unset {switch}\npython3 -m build")
    source = stand_in(tmp_path, "torch")
    status, output, wheels = run_build(component, source, PYTORCH, script, ENVIRONMENT_HAS=pins(component))
    assert status != 0 and not wheels
    assert f"{switch} is missing" in output


def test_pytorch_without_a_wheel_that_it_needs_is_refused(tmp_path: Path) -> None:
    component = components("torch")[0]
    has = pins(component).replace("nvidia-cudnn-cu12", "nvidia-other-cu12")
    status, output, wheels = run_build(component, stand_in(tmp_path, "torch"), PYTORCH, ENVIRONMENT_HAS=has)
    assert status != 0 and not wheels
    assert "nvidia-cudnn-cu12" in output


@pytest.mark.parametrize("component", components("torchvision"), ids=lambda component: component.id)
def test_torchvision_is_told_everything(component: Component, tmp_path: Path) -> None:
    expected = {**TORCHVISION, "PYTORCH_NVCC": "unit ccache /cuda/bin/nvcc"}
    status, output, wheels = run_build(component, stand_in(tmp_path, "torchvision"), expected)
    assert status == 0, output
    assert [wheel.name for wheel in wheels] == [f"torchvision-{component.version}+here-cp311-cp311-linux_x86_64.whl"]


@pytest.mark.parametrize("switch", [name for name in TORCHVISION if name != "TORCH_CUDA_ARCH_LIST"])
def test_torchvision_without_a_switch_is_refused(switch: str, tmp_path: Path) -> None:
    component = components("torchvision")[0]
    script = component.script.read_text().replace("python3 -m build", f"unset {switch}\npython3 -m build")
    status, output, wheels = run_build(component, stand_in(tmp_path, "torchvision"), TORCHVISION, script)
    assert status != 0 and not wheels
    assert f"{switch} is missing" in output


def kernels(component: Component, folder: Path, *, edited: tuple[str, str] = ("", "")) -> Path:
    """A stand-in for SGLang's kernels with what the script edits, as its version has it."""
    tree = folder / "src" / "sglang"
    source = tree / component.arguments["KERNELS"]
    source.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(STANDINS / "project", source)
    (source / "name").write_text(component.distribution.replace("-", "_"))
    counts = component.arguments["COUNTS"].split()
    infllm = 'list(APPEND INFLLM_FLASH_CUDA_FLAGS "-gencode=arch=compute_90,code=sm_90")\nset(INFLLM_FLASH_SOURCES\n)'
    forced = "    set(SGL_KERNEL_ENABLE_FA3 ON)"
    text = CMAKE.format(infllm=infllm if counts[1] == "1" else "", forced=forced if counts[4] == "1" else "")
    (source / "CMakeLists.txt").write_text(text.replace(*edited) if edited[0] else text)
    (source / "pyproject.toml").write_text(f'[project]\nversion = "{component.version}"\n')
    return tree


def given(component: Component) -> dict[str, str]:
    return {source.variable: f"/src/{source.name}" for source in component.sources if source.variable}


@pytest.mark.parametrize("component", components("sgl-kernel"), ids=lambda component: component.id)
def test_sglangs_kernels_are_for_this_gpu_alone(component: Component, tmp_path: Path) -> None:
    tree = kernels(component, tmp_path)
    source = tree / component.arguments["KERNELS"]
    (source / "switches").write_text(
        "\n".join([*SGLANG, *(f"-D{fetched(name)}={path}" for name, path in given(component).items())])
    )
    status, output, wheels = run_build(component, tree, {}, **given(component))
    assert status == 0, output
    assert len(wheels) == 1 and wheels[0].name.startswith(component.distribution.replace("-", "_"))
    text = (source / "CMakeLists.txt").read_text()
    assert 'list(FILTER SGL_KERNEL_CUDA_FLAGS EXCLUDE REGEX "^-gencode=")' in text
    assert text.index("compute_120a,code=sm_120a") < text.index("set(SOURCES\n")
    assert "install(TARGETS common_ops_sm90_build" not in text and "install(TARGETS common_ops_sm100_build" in text
    assert "set(SGL_KERNEL_ENABLE_FA3 ON)" not in text and "flashmla.cmake" not in text
    assert f'version = "{component.version}+here"' in (source / "pyproject.toml").read_text()


def fetched(variable: str) -> str:
    """FETCHCONTENT_SOURCE_DIR_REPO_FMT → FETCHCONTENT_SOURCE_DIR_REPO-FMT: no shell's variable has a `-`."""
    prefix = "FETCHCONTENT_SOURCE_DIR_"
    return prefix + variable.removeprefix(prefix).replace("_", "-")


@pytest.mark.parametrize("switch", SGLANG)
def test_sglangs_kernels_without_a_switch_are_refused(switch: str, tmp_path: Path) -> None:
    component = components("sgl-kernel")[0]
    tree = kernels(component, tmp_path)
    (tree / component.arguments["KERNELS"] / "switches").write_text("\n".join(SGLANG))
    script = component.script.read_text()
    assert switch in script
    status, output, wheels = run_build(component, tree, {}, script.replace(switch, ""), **given(component))
    assert status != 0 and not wheels
    assert f"{switch} is missing" in output


@pytest.mark.parametrize(
    "edited",
    [
        ("set(SOURCES", "set(ALL_SOURCES"),
        ("DESTINATION sgl_kernel/sm90)", "DESTINATION sgl_kernel/hopper)"),
        ("flashmla.cmake", "flash_mla.cmake"),
        ("set(SOURCES", "set(SOURCES\n)\nset(SOURCES"),
    ],
)
def test_an_edit_that_does_not_find_what_it_expects_stops_the_build(edited: tuple[str, str], tmp_path: Path) -> None:
    component = components("sgl-kernel")[0]
    status, output, wheels = run_build(component, kernels(component, tmp_path, edited=edited), {}, **given(component))
    assert status != 0 and not wheels
    assert "lines are as expected, not" in output and "COUNTS" in output


def test_sglangs_kernels_for_another_gpu_are_refused(tmp_path: Path) -> None:
    component = components("sgl-kernel")[0]
    status, output, _ = run_build(component, kernels(component, tmp_path), {}, ARCHITECTURE="sm90", **given(component))
    assert status != 0
    assert "for sm120 alone, not for sm90" in output


def test_every_component_can_be_read_and_its_script_run() -> None:
    assert not PROBLEMS
    for component in COMPONENTS.values():
        assert os.access(component.script, os.X_OK), component.script
