"""Smoke test of the toolkit: it compiles for the target, the same each time, and on a GPU the numbers are right."""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from probe import Failed, compare, require, run_checks

CUDA = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
COMPUTE = os.environ["HALLMARK_COMPUTE"]
LINE = os.environ["HALLMARK_CUDA"]
ARCHITECTURE = COMPUTE.replace(".", "")

# What is compiled for one GPU model alone, `a`, is what CUTLASS's fastest kernels are.
CODE = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in (ARCHITECTURE, f"{ARCHITECTURE}a")]
# Without it nvcc names its temporary files at random, and the names reach the object. Compile steps set it for all.
ALIKE = "-objtemp"
PROGRAMS = ("ccache", "cmake", "ninja", "patch", "patchelf", "xz")
LONGEST_S = 240

# Headers of the runtime, of CUB and of cuBLAS, each from another package.
SOURCE = r"""
#include <cooperative_groups.h>
#include <cublas_v2.h>
#include <cub/block/block_reduce.cuh>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

namespace {
constexpr int kThreads = 256;

__global__ void sums_of_squares(const float* values, float* sums, int count) {
  using Reduce = cub::BlockReduce<float, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  int index = blockIdx.x * kThreads + threadIdx.x;
  float value = index < count ? __bfloat162float(__float2bfloat16(values[index])) : 0.0f;
  float sum = Reduce(storage).Sum(value * value);
  if (cooperative_groups::this_thread_block().thread_rank() == 0) sums[blockIdx.x] = sum;
}

struct Buffer {
  float* data = nullptr;
  cudaError_t error;
  explicit Buffer(int count) : error(cudaMalloc(&data, count * sizeof(float))) {}
  ~Buffer() { cudaFree(data); }
};
}  // namespace

extern "C" int find_device(int* major, int* minor) {
  cudaError_t error = cudaDeviceGetAttribute(major, cudaDevAttrComputeCapabilityMajor, 0);
  return error ? error : cudaDeviceGetAttribute(minor, cudaDevAttrComputeCapabilityMinor, 0);
}

extern "C" const char* explain(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

extern "C" int sum(const float* values, float* sums, int count) {
  int blocks = (count + kThreads - 1) / kThreads;
  Buffer in(count), out(blocks);
  if (in.error || out.error) return in.error ? in.error : out.error;
  cudaMemcpy(in.data, values, count * sizeof(float), cudaMemcpyHostToDevice);
  sums_of_squares<<<blocks, kThreads>>>(in.data, out.data, count);
  if (cudaError_t error = cudaGetLastError()) return error;
  return cudaMemcpy(sums, out.data, blocks * sizeof(float), cudaMemcpyDeviceToHost);
}

extern "C" int multiply(const float* left, const float* right, float* product, int size) {
  int bytes = size * size * sizeof(float);
  const float one = 1, zero = 0;
  Buffer a(size * size), b(size * size), c(size * size);
  if (a.error || b.error || c.error) return cudaErrorMemoryAllocation;
  cudaMemcpy(a.data, left, bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(b.data, right, bytes, cudaMemcpyHostToDevice);
  cublasHandle_t handle;
  if (cublasCreate(&handle)) return cudaErrorInitializationError;
  cublasStatus_t status = cublasSgemm(
      handle, CUBLAS_OP_N, CUBLAS_OP_N, size, size, size, &one, a.data, size, b.data, size, &zero, c.data, size);
  cublasDestroy(handle);
  return status ? cudaErrorUnknown : cudaMemcpy(product, c.data, bytes, cudaMemcpyDeviceToHost);
}
"""

PROJECT = """
cmake_minimum_required(VERSION 3.27)
project(smoke LANGUAGES CXX CUDA)
find_package(CUDAToolkit REQUIRED)
add_library(smoke SHARED smoke.cu)
set_target_properties(smoke PROPERTIES CUDA_ARCHITECTURES {architecture}-real)
target_link_libraries(smoke PRIVATE CUDA::cudart CUDA::cublas CUDA::cuda_driver)
"""
PROJECT_SOURCE = "__global__ void fill(float* values) { values[threadIdx.x] = 1.0f; }\n"


def main() -> None:
    """Run every check; none keeps the others from reporting."""
    checks = (check_version, check_compile, check_link, check_cmake, check_reproducible, check_run)
    run_checks({check.__name__.removeprefix("check_"): check for check in checks})


def check_version(measured: dict[str, Any]) -> None:
    """The compilers and the headers are of the cell's CUDA line, and the programs beside them start."""
    for program in ("nvcc", "ptxas"):
        found = re.search(r"release ([\d.]+), V([\d.]+)", call(program, "--version"))
        measured[program] = found[2] if found else "unknown"
        require(
            found is not None and found[1] == LINE, f"{program} is {measured[program]}, the cell is for CUDA {LINE}"
        )
    header = (CUDA / "include/cuda.h").read_text(errors="replace")
    found = re.search(r"^#define CUDA_VERSION (\d+)$", header, re.MULTILINE)
    version = "{}.{}".format(*divmod(int(found[1]) // 10, 100)) if found else "unknown"
    require(version == LINE, f"cuda.h is of CUDA {version}, the cell is for {LINE}")
    for program in PROGRAMS:
        measured[program] = call(program, "--version").splitlines()[0]


def check_compile(measured: dict[str, Any]) -> None:
    """A kernel becomes machine code for the target's compute capability, and nothing else."""
    object_file = build_object()
    found = sorted(read_code(object_file.read_bytes()))
    measured |= {"code": found, "bytes": object_file.stat().st_size}
    wanted = [f"sm_{ARCHITECTURE}", f"sm_{ARCHITECTURE}a"]
    require(found == wanted, f"the object has {', '.join(found) or 'no GPU code'}, not {' and '.join(wanted)}")


def check_link(measured: dict[str, Any]) -> None:
    """The host's compiler links it with CUDA's libraries by their plain names, and what comes out loads."""
    library = build_library()
    needed = re.findall(r"NEEDED.*\[(.+)\]", call("readelf", "--dynamic", str(library)))
    measured["needed"] = needed
    for name in ("libcudart.so", "libcublas.so"):
        require(any(each.startswith(f"{name}.") for each in needed), f"it does not need {name}, but {needed}")
    load(library)
    # A container gets the driver's library when it runs; here the linker has a stand-in, which nothing loads.
    driver = work() / "driver.so"
    call("g++", "-shared", "-o", str(driver), str(build_object()), f"-L{CUDA}/lib64", "-lcudart", "-lcublas", "-lcuda")


def check_cmake(measured: dict[str, Any]) -> None:
    """CMake and Ninja find the compiler and its libraries by themselves, and build with them."""
    folder = work() / "project"
    folder.mkdir()
    (folder / "smoke.cu").write_text(PROJECT_SOURCE)
    (folder / "CMakeLists.txt").write_text(PROJECT.format(architecture=ARCHITECTURE))
    # As compile steps have it: where base's stand-in for the driver's library is, for lines whose toolkit has none.
    driver = {"CMAKE_LIBRARY_PATH": "/usr/local/lib/cuda-stubs"}
    call("cmake", "-G", "Ninja", "-S", str(folder), "-B", str(folder / "build"), **driver)
    call("cmake", "--build", str(folder / "build"))
    measured["code"] = sorted(read_code((folder / "build/libsmoke.so").read_bytes()))
    require(f"sm_{ARCHITECTURE}" in measured["code"], f"CMake compiled for {measured['code']}")


def check_reproducible(measured: dict[str, Any]) -> None:
    """The same source compiled a second time, with another folder for temporary files, has the same bytes."""
    first = build_object().read_bytes()
    with tempfile.TemporaryDirectory(prefix="elsewhere-") as other:
        second = compile_object(other).read_bytes()
    measured["bytes"] = len(first)
    different = [index for index, pair in enumerate(zip(first, second)) if pair[0] != pair[1]]  # noqa: B905
    if first != second:
        at = different[0] if different else min(len(first), len(second))
        raise Failed(f"the second object differs from byte {at} on", sizes=[len(first), len(second)])


def check_run(measured: dict[str, Any]) -> None:
    """On the target's GPU the kernel and cuBLAS give the numbers that Python computes."""
    library = load(build_library())
    major, minor = ctypes.c_int(), ctypes.c_int()
    require_success(library, library.find_device(ctypes.byref(major), ctypes.byref(minor)))
    measured["compute"] = f"{major.value}.{minor.value}"
    require(measured["compute"] == COMPUTE, f"the device has compute capability {measured['compute']}, not {COMPUTE}")

    values = [float(index % 13) for index in range(1000)]  # small whole numbers: exact in bfloat16, and so are sums
    sums = (ctypes.c_float * 4)()
    require_success(library, library.sum((ctypes.c_float * 1000)(*values), sums, 1000))
    compare(
        list(sums), [sum(value * value for value in values[start : start + 256]) for start in range(0, 1000, 256)], 0
    )

    size = 16
    left = [float((3 * index) % 7) for index in range(size * size)]
    right = [float((5 * index) % 11) for index in range(size * size)]
    product = (ctypes.c_float * (size * size))()
    matrix = ctypes.c_float * (size * size)
    require_success(library, library.multiply(matrix(*left), matrix(*right), product, size))
    expected = [  # column by column
        sum(left[inner * size + row] * right[column * size + inner] for inner in range(size))
        for column in range(size)
        for row in range(size)
    ]
    compare(list(product), expected, 0)


@cache
def work() -> Path:
    """A folder for what is built, in the only place that can be written to."""
    return Path(tempfile.mkdtemp(prefix="toolkit-"))


def write_source() -> Path:
    """The program's source, which each check can be the first to need."""
    path = work() / "smoke.cu"
    path.write_text(SOURCE)
    return path


@cache
def build_object() -> Path:
    """The object file of the program. A check that needs one fails where it cannot be compiled."""
    kept = work() / "first.o"
    compile_object(str(work())).rename(kept)
    return kept


def compile_object(temporary: str) -> Path:
    """Compile the program anew under one name; nvcc's own temporary files go into the given folder."""
    source, made = write_source(), work() / "smoke.o"
    call("nvcc", "-c", ALIKE, "-O2", "-Xcompiler=-fPIC", *CODE, "-o", made.name, source.name, TMPDIR=temporary)
    return made


@cache
def build_library() -> Path:
    """A shared library of the object, linked by the host's compiler."""
    made = work() / "smoke.so"
    libraries = (f"-L{CUDA}/lib64", "-lcudart", "-lcublas", f"-Wl,-rpath,{CUDA}/lib64")
    call("g++", "-shared", "-o", str(made), str(build_object()), *libraries)
    return made


def load(library: Path) -> Any:
    """The library in this process."""
    found = ctypes.CDLL(str(library))
    found.explain.restype = ctypes.c_char_p
    return found


def require_success(library: Any, error: int) -> None:
    """Raise Failed with CUDA's own words unless the error is none."""
    require(error == 0, f"CUDA error {error}: {library.explain(error).decode() if error else ''}")


def call(program: str, *arguments: str, **environment: str) -> str:
    """What a program prints. Raises Failed with the end of it where it fails or hangs."""
    command: Sequence[str] = (program, *arguments)
    try:
        run = subprocess.run(
            command,
            cwd=work(),
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
            check=False,
        )
    except FileNotFoundError:
        raise Failed(f"there is no {program}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{program} did not end within {LONGEST_S} s") from None
    require(run.returncode == 0, f"{program} ended with exit code {run.returncode}: {run.stdout[-2000:].strip()}")
    return run.stdout


def read_code(data: bytes) -> set[str]:
    """The GPU code in an object or a library, as compilers spell it: `sm_120`, `sm_120a`, `compute_120` for PTX.

    It is read off the headers of the containers that nvcc writes, as the audit does.
    """
    found = set()
    for match in re.finditer(re.escape(struct.pack("<IHH", 0xBA55ED50, 1, 16)), data):
        (size,) = struct.unpack_from("<Q", data, match.start() + 8)
        offset = match.end() + 8
        end = offset + size
        while offset < end:
            kind, _, header, stored = struct.unpack_from("<HHIQ", data, offset)
            (architecture,) = struct.unpack_from("<I", data, offset + 28)
            (flags,) = struct.unpack_from("<Q", data, offset + 40)
            suffix = {0x100000: "a", 0x200000: "f"}.get(flags & 0x300000, "")
            found.add(f"{'sm' if kind == 2 else 'compute'}_{architecture}{suffix}")
            offset += header + stored
    return found


if __name__ == "__main__":
    main()
