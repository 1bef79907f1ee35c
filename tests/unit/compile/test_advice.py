from __future__ import annotations

import pytest

from scripts.compile.advice import MOST, advise, find_relevant

MEMORY, DISK, NETWORK, PATCH = "memory", "disk is full", "[[source]]", "patch does not fit"
OLD, CRASH, HOST, MISSING = "later CUDA line", "compiler crashed", "compiler of images/base", "header or a library"
DRIVER = "-lcuda"


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("nvcc error   : 'cicc' died due to signal 9 (Kill signal)", MEMORY),
        ("nvcc error   : 'ptxas' died due to signal 9 (Kill signal)", MEMORY),
        ("g++: fatal error: Killed signal terminated program cc1plus", MEMORY),
        ("c++: fatal error: Killed (program cc1plus)", MEMORY),
        ("Killed", MEMORY),
        ("nvcc error   : 'cicc' died with signal 9", MEMORY),
        ("/bin/sh: line 1:  4711 Killed                  nvcc -c x.cu", MEMORY),
        ("FAILED: [code=137] CMakeFiles/_C.dir/x.cu.o", MEMORY),
        ('ERROR: process "/bin/sh -c compile" did not complete successfully: exit code: 137', MEMORY),
        ("as: x.o: No space left on device", DISK),
        ("fatal error: error writing to /tmp/cc.s: Disk quota exceeded", DISK),
        (
            "fatal: unable to access 'https://github.com/NVIDIA/cutlass.git/': Could not resolve host: github.com",
            NETWORK,
        ),
        ("curl: (6) Could not resolve host: developer.download.nvidia.com", NETWORK),
        ("<urlopen error [Errno -3] Temporary failure in name resolution>", NETWORK),
        ("Hunk #1 FAILED at 12.", PATCH),
        ("1 out of 2 hunks FAILED -- saving rejects to file CMakeLists.txt.rej", PATCH),
        ("can't find file to patch at input line 5", PATCH),
        ("patch: **** malformed patch at line 9: x", PATCH),
        ("Reversed (or previously applied) patch detected!  Skipping patch.", PATCH),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_120f'", OLD),
        ("ptxas fatal   : Value 'sm_120f' is not defined for option 'gpu-name'", OLD),
        ("nvcc error   : 'cicc' died due to signal 11 (Invalid memory reference)", CRASH),
        ("Segmentation fault (core dumped) ptxas", CRASH),
        ("x.cpp:5:1: internal compiler error: in expand_expr, at expr.cc:1", CRASH),
        ("#error -- unsupported GNU version! gcc versions later than 12 are not supported!", HOST),
        ("x.h:3:10: fatal error: cutlass/cutlass.h: No such file or directory", MISSING),
        ("/usr/bin/ld: cannot find -lcublas: No such file or directory", MISSING),
        ("CMake Error: Could NOT find CUDAToolkit (missing: CUDA_CUDART)", MISSING),
        ("compile: error: a/b.so does not need libcuda.so.1, and calls cuInit", DRIVER),
    ],
)
def test_a_known_failure_has_its_advice(line: str, part: str) -> None:
    assert part in advise(["[1/2] Building x", line, "ninja: build stopped: subcommand failed."])


@pytest.mark.parametrize(
    "line",
    [
        'x.cu(5): error: identifier "foo" is undefined',
        "copying vllm/killed_handler.py -> build/lib",
        "Skilled workers",
        "ninja: build stopped: subcommand failed.",
    ],
)
def test_an_unknown_one_has_none(line: str) -> None:
    assert advise([line]) == ""
    assert advise([]) == ""


def test_the_name_of_the_patch_is_told() -> None:
    lines = [
        "patch: 0001-good.patch",
        "patching file a",
        "patch: 0002-bad.patch",
        "patching file b",
        "Hunk #1 FAILED at 3.",
    ]
    found = find_relevant(lines)
    assert found == ["patch: 0002-bad.patch", "Hunk #1 FAILED at 3."]
    assert advise(found).startswith("0002-bad.patch does not fit")


# --- the lines that explain it

FAILED = "FAILED: [code=1] CMakeFiles/_C.dir/x.cu.o"


def test_what_failed_first_is_quoted_and_not_what_came_after() -> None:
    lines = [
        *["copying vllm/errors.py -> build/lib", "copying vllm/error_response.py -> build/lib"] * 20,
        "[3/9] Building CUDA object x.cu.o",
        FAILED,
        "/usr/local/cuda/bin/nvcc -c x.cu " + "-DX " * 400,
        'x.cu(5): error: identifier "foo" is undefined',
        '1 error detected in the compilation of "x.cu".',
        "[4/9] Building CUDA object y.cu.o",
        "ninja: build stopped: subcommand failed.",
        "Traceback (most recent call last):",
        '  File "setup.py", line 5, in <module>',
        "subprocess.CalledProcessError: Command '['cmake', '--build']' returned non-zero exit status 1.",
    ]
    found = find_relevant(lines)
    assert found[0] == FAILED and found[2] == 'x.cu(5): error: identifier "foo" is undefined'
    assert all(len(line) <= 300 for line in found)
    assert not any("Traceback" in line or "copying" in line or "CalledProcessError" in line for line in found)


@pytest.mark.parametrize(
    "line",
    [
        "CMake Error at CMakeLists.txt:5 (message):",
        "compile: source.tar has no folder 3rdparty",
        "ModuleNotFoundError: No module named 'torch'",
        "nvcc fatal   : Unsupported gpu architecture 'compute_120f'",
        "Hunk #1 FAILED at 12.",
        "/usr/bin/ld: cannot find -lcublas: No such file or directory",
        "nvcc error   : 'cicc' died due to signal 9 (Kill signal)",
    ],
)
def test_other_tools_failures_are_found(line: str) -> None:
    lines = ["noise"] * 50 + [line] + ["after"] * 50
    assert line in find_relevant(lines)


@pytest.mark.parametrize(
    "line",
    [
        "copying vllm/entrypoints/error_response.py -> build/lib",
        "[5/9] Building CXX object error_handling.cpp.o",
        "-- Performing Test HAS_WERROR - Success",
        "warning: x.cu(3): error_code is deprecated",
        "compile: 8 units at once within 20 GiB",
    ],
)
def test_lines_with_such_a_word_in_them_are_no_failure(line: str) -> None:
    assert line not in find_relevant([line, *["noise"] * 60, FAILED])


def test_errors_among_many_warnings_are_quoted() -> None:
    lines = [FAILED, "nvcc -c x.cu", *["x.h(1): warning #1: unused"] * 200, "x.cu(9): error: no such operator"]
    found = find_relevant([*lines, *["x.h(2): warning #1: unused"] * 200])
    assert found[0] == FAILED and "x.cu(9): error: no such operator" in found


def test_what_another_unit_says_explains_nothing() -> None:
    found = find_relevant([FAILED, "nvcc -c x.cu", "x.cu(1): error: bad", "[4/9] Building y.o", "y.h: warning"])
    assert found == [FAILED, "nvcc -c x.cu", "x.cu(1): error: bad"]


def test_there_are_never_too_many() -> None:
    assert len(find_relevant([FAILED, *[f"x.cu({number}): error: bad" for number in range(99)]])) == MOST
    assert len(find_relevant(["nothing"] * 99)) == MOST
    assert find_relevant([]) == []
