"""The toolkit's smoke script against stand-in compilers: one that is right passes, and every way to be wrong fails."""

from __future__ import annotations

import ctypes
import importlib
import io
import json
import struct
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "images/toolkit"
CHECKS = tomllib.loads((FOLDER / "image.toml").read_text())["scenario"][0]["checks"]
NAMES = ("smoke", "probe")
SUFFIXES = {"": 0, "a": 0x100000, "f": 0x200000}


def make_code(*entries: tuple[int, int, str]) -> bytes:
    """A file with one container of GPU code: an entry for each kind (1 PTX, 2 SASS), architecture and suffix."""
    payload = b"\0" * 8
    packed = b"".join(
        struct.pack("<HHIQI4xHHI8xQ8xQ", kind, 0x0101, 64, len(payload), 0, 0, 0, arch, SUFFIXES[suffix], 0) + payload
        for kind, arch, suffix in entries
    )
    container = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(packed)) + packed
    return b"\x7fELF" + (container if entries else b"")


GOOD = make_code((2, 120, ""), (2, 120, "a"))


class FakePrograms:
    """Stands in for `subprocess.run`: every program does its part at once. The fields are ways to be wrong."""

    def __init__(self) -> None:
        self.broken = ""
        self.release = "13.0"
        self.needed = "(NEEDED) [libcudart.so.13]\n(NEEDED) [libcublas.so.13]"
        self.code = GOOD
        self.varies = False

    def __call__(self, command: Sequence[str], *, cwd: Path, env: dict[str, str], **options: Any) -> Any:
        name, *arguments = command
        if name == "no-such-program":
            raise FileNotFoundError
        if name == "hangs":
            raise subprocess.TimeoutExpired(name, options["timeout"])
        if name == self.broken:
            return SimpleNamespace(returncode=3, stdout="no such luck\n")
        return SimpleNamespace(returncode=0, stdout=self.do(name, arguments, cwd, env))

    def do(self, name: str, arguments: list[str], cwd: Path, env: dict[str, str]) -> str:
        if "--version" in arguments:
            return f"{name}: release {self.release}, V{self.release}.88\n"
        if name == "readelf":
            return self.needed
        if "--build" in arguments:
            (Path(arguments[-1]) / "libsmoke.so").write_bytes(self.code)
        elif name == "cmake":
            Path(arguments[-1]).mkdir()
        else:
            data = self.code + (env["TMPDIR"].encode() if self.varies and name == "nvcc" else b"")
            (cwd / arguments[arguments.index("-o") + 1]).write_bytes(data)
        return ""


@pytest.fixture
def programs() -> FakePrograms:
    return FakePrograms()


@pytest.fixture
def script(programs: FakePrograms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The script as a module, with `probe` beside it as in the container, and stand-ins for all that it calls."""
    cuda = tmp_path / "cuda"
    (cuda / "include").mkdir(parents=True)
    (cuda / "include/cuda.h").write_text("#define CUDA_VERSION 13000\n")
    (tmp_path / "tmp").mkdir()
    for folder in (ROOT / "scripts/smoke/inside", FOLDER):
        monkeypatch.syspath_prepend(str(folder))
    values = {
        "CUDA_HOME": str(cuda),
        "HALLMARK_COMPUTE": "12.0",
        "HALLMARK_CUDA": "13.0",
        "HALLMARK_CHECKS": " ".join(CHECKS),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    module = importlib.import_module("smoke")
    assert module.__file__ == str(FOLDER / "smoke.py")
    monkeypatch.setattr(module, "load", lambda library: FakeLibrary())
    monkeypatch.setattr(module.subprocess, "run", programs)
    yield module
    for name in NAMES:
        del sys.modules[name]
    sys.modules.update({name: known for name, known in before.items() if known})


class FakeLibrary:
    """What the compiled library does on a GPU, done here; `compute`, `error` and `off` are ways to be wrong."""

    def __init__(self, compute: tuple[int, int] = (12, 0), error: int = 0, off: float = 0.0) -> None:
        self.compute, self.error, self.off = compute, error, off

    def explain(self, error: int) -> bytes:
        return b"no CUDA-capable device is detected"

    def find_device(self, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = self.compute
        return self.error

    def sum(self, values: Any, sums: Any, count: int) -> int:
        for block in range(len(sums)):
            sums[block] = sum(value * value for value in list(values)[256 * block : 256 * (block + 1)])
        return 0

    def multiply(self, left: Any, right: Any, product: Any, size: int) -> int:
        for row in range(size):
            for column in range(size):
                cell = sum(left[k * size + row] * right[column * size + k] for k in range(size))
                product[column * size + row] = cell + self.off
        return 0


def failure(check: Callable[[dict[str, Any]], None]) -> str:
    """Why a check failed; anything but a failure with a reason is a fault of the script."""
    with pytest.raises(sys.modules["probe"].Failed) as caught:
        check({})
    return str(caught.value)


def test_a_toolkit_that_is_right_passes_every_check_that_image_toml_demands(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    report = sys.modules["probe"].Report(stream)
    monkeypatch.setattr(sys.modules["probe"].Report, "on_stdout", lambda: report)
    script.main()
    results = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(each["check"], each["outcome"], each["detail"]) for each in results] == [
        (name, "passed", "") for name in CHECKS
    ]


@pytest.mark.parametrize(
    ("fault", "value", "cause"),
    [
        ("release", "12.9", "nvcc is 12.9.88, the cell is for CUDA 13.0"),
        ("broken", "nvcc", "nvcc ended with exit code 3: no such luck"),
        ("broken", "ccache", "ccache ended with exit code 3: no such luck"),
    ],
)
def test_another_release_and_a_program_that_does_not_start_are_failures(
    fault: str, value: str, cause: str, script: Any, programs: FakePrograms
) -> None:
    setattr(programs, fault, value)
    assert failure(script.check_version) == cause


def test_headers_of_another_release_are_a_failure(script: Any, tmp_path: Path) -> None:
    (tmp_path / "cuda/include/cuda.h").write_text("#define CUDA_VERSION 12090\n")
    assert failure(script.check_version) == "cuda.h is of CUDA 12.9, the cell is for 13.0"


def test_a_program_that_is_not_there_is_a_failure(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "PROGRAMS", ("no-such-program",))
    assert failure(script.check_version) == "there is no no-such-program"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ((), "no GPU code"),
        (((2, 90, ""),), "sm_90"),
        (((2, 120, ""),), "sm_120"),
        (((2, 120, ""), (2, 120, "f")), "sm_120, sm_120f"),
        (((2, 120, ""), (2, 120, "a"), (1, 120, "")), "compute_120, sm_120, sm_120a"),
    ],
)
def test_code_for_anything_else_is_a_failure(
    code: tuple[tuple[int, int, str], ...], found: str, script: Any, programs: FakePrograms
) -> None:
    programs.code = make_code(*code)
    assert failure(script.check_compile) == f"the object has {found}, not sm_120 and sm_120a"


def test_it_reads_the_code_that_our_own_reader_sees(script: Any) -> None:
    from scripts.gpucode import read_gpu_code

    for name in ("family.so", "several.so", "specific.so", "lz4.so", "zstd.so", "host.so"):
        path = ROOT / "tests/data/gpucode" / name
        entries = [entry for each in read_gpu_code(path) or () for entry in each.entries]
        expected = {f"{'sm' if entry.kind == 'sass' else 'compute'}_{entry.arch}" for entry in entries}
        assert script.read_code(path.read_bytes()) == expected


def test_a_library_that_needs_no_cublas_is_a_failure(script: Any, programs: FakePrograms) -> None:
    programs.needed = "(NEEDED) [libcudart.so.13]"
    assert failure(script.check_link) == "it does not need libcublas.so, but ['libcudart.so.13']"


def test_a_library_that_does_not_load_is_a_failure(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "load", ctypes.CDLL)
    with pytest.raises(OSError, match=r"smoke\.so"):
        script.check_link({})


def test_a_linker_that_fails_is_a_failure(script: Any, programs: FakePrograms) -> None:
    programs.broken = "g++"
    assert failure(script.check_link) == "g++ ended with exit code 3: no such luck"


def test_what_cmake_compiles_for_another_gpu_is_a_failure(script: Any, programs: FakePrograms) -> None:
    programs.code = make_code((2, 90, ""))
    assert failure(script.check_cmake) == "CMake compiled for ['sm_90']"


def test_a_compiler_whose_temporary_names_show_is_a_failure(script: Any, programs: FakePrograms) -> None:
    programs.varies = True
    assert failure(script.check_reproducible).startswith("the second object differs from byte ")


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"error": 100}, "CUDA error 100: no CUDA-capable device is detected"),
        ({"compute": (9, 0)}, "the device has compute capability 9.0, not 12.0"),
        ({"off": 0.5}, "values differ by up to 0.5, and 0 is accepted"),
    ],
)
def test_no_gpu_another_one_and_wrong_numbers_are_failures(
    fault: dict[str, Any], cause: str, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "load", lambda library: FakeLibrary(**fault))
    assert failure(script.check_run) == cause


def test_a_program_that_hangs_is_a_failure(script: Any) -> None:
    with pytest.raises(sys.modules["probe"].Failed, match="hangs did not end within 240 s"):
        script.call("hangs")
