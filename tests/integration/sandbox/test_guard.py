"""The guard as a container starts it: in the real base image, without a driver, or with one that is compiled there."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.assemble.guard import NAME, make_guard
from scripts.assemble.inside.guard import REFUSED
from scripts.engine import Engine
from scripts.engine.sandbox import Ending, Mount, Request, open_sandbox
from tests.integration.sandbox.test_sandbox import LABEL, image

__all__ = ["image"]  # a fixture

IMAGE = {"compute": "12.0", "cuda": "12.8", "driver": "570.124.06"}
DRIVER = r"""
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
int cuInit(unsigned flags) { CRASH return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int place) { *device = place; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    const char *from = "NVIDIA H200";
    while ((*name++ = *from++));
    return 0;
}
int cuDeviceGetAttribute(int *number, int attribute, int device) {
    *number = attribute == 75 ? MAJOR : 0;
    return 0;
}
"""
COMPILE = "gcc -shared -fPIC {options} -o /tmp/libcuda.so.1 -x c /inputs/driver.c && LD_LIBRARY_PATH=/tmp exec "


@pytest.fixture
def mounts(tmp_path: Path) -> tuple[Mount, ...]:
    files = make_guard(IMAGE)
    for entry in files:
        path = tmp_path / Path(entry.path).name
        path.write_bytes(entry.read())
        path.chmod(entry.mode)
    (tmp_path / "driver.c").write_text(DRIVER)
    tmp_path.chmod(0o755)
    return (
        *(Mount(tmp_path / Path(entry.path).name, f"/{entry.path}") for entry in files),
        Mount(tmp_path / "driver.c", "/inputs/driver.c"),
    )


def run(engine: Engine, digest: str, mounts: tuple[Mount, ...], command: str, driver: str = "", **more: str) -> Ending:
    """What comes of a command after the guard. `driver` are options of the compiler that makes the driver."""
    script = (COMPILE.format(options=driver) if driver else "exec ") + f"{NAME} {command}"
    words = ("/bin/sh", "-c", script)
    request = Request(digest, words, LABEL, 256 << 20, 60, mounts, more, tmpfs={"/tmp": 1 << 24})
    with open_sandbox(engine, request) as sandbox:
        return sandbox.run()


USER = "int cuDriverGetVersion(int *); int ask(void) { int version = 0; cuDriverGetVersion(&version); return version; }"
LINK = f"""printf %s '{USER}' | gcc -shared -fPIC -o /tmp/user.so -x c - -lcuda
exec python3 -c 'import ctypes; print(ctypes.CDLL("/tmp/user.so", 2).ask())'"""


def test_what_is_linked_at_run_time_brings_the_driver_in(engine: Engine, image: str, mounts: tuple[Mount, ...]) -> None:
    # As FlashInfer does: with nothing but -lcuda, and loaded (2: all names are looked up) where nothing else has it.
    script = COMPILE.format(options="-DMAJOR=12 -DCRASH=").removesuffix("LD_LIBRARY_PATH=/tmp exec ")
    script = f"{script}export LD_LIBRARY_PATH=/tmp && {LINK}"
    request = Request(image, ("/bin/sh", "-ec", script), LABEL, 256 << 20, 60, mounts, tmpfs={"/tmp": 1 << 24})
    with open_sandbox(engine, request) as sandbox:
        ended = sandbox.run()
    assert (ended.exit_code, ended.stdout) == (0, b"12080\n"), ended.stderr


def test_without_a_driver_it_says_so_and_goes_on(engine: Engine, image: str, mounts: tuple[Mount, ...]) -> None:
    ended = run(engine, image, mounts, "sh -c 'echo $$; exit 5'")
    assert (ended.exit_code, ended.stdout) == (5, b"1\n"), (
        "the command has the guard's process id and its own exit code"
    )
    assert ended.stderr.count(b"\n") == 1 and b"no driver is in reach: run it with `--gpus all`" in ended.stderr


def test_the_right_gpu_is_passed_without_a_word(engine: Engine, image: str, mounts: tuple[Mount, ...]) -> None:
    ended = run(engine, image, mounts, "sh -c 'echo $$'", "-DMAJOR=12 -DCRASH=")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, b"1\n", b"")


def test_the_wrong_gpu_ends_it_before_the_command(engine: Engine, image: str, mounts: tuple[Mount, ...]) -> None:
    ended = run(engine, image, mounts, "echo started", "-DMAJOR=9 -DCRASH=")
    assert (ended.exit_code, ended.stdout) == (REFUSED, b"")
    assert ended.stderr.decode() == (
        "hallmark: this image is for GPUs of compute capability 12.0 and CUDA 12.8, and NVIDIA H200 (GPU 0) has 9.0"
        " (HALLMARK_GUARD=off skips this)\n"
    )


@pytest.mark.parametrize("question", ["--help", "-h", "--version"])
def test_a_question_is_answered_on_any_gpu(
    question: str, engine: Engine, image: str, mounts: tuple[Mount, ...]
) -> None:
    ended = run(engine, image, mounts, f"sh -c 'echo answered' {question}", "-DMAJOR=9 -DCRASH=")
    assert (ended.exit_code, ended.stdout) == (0, b"answered\n") and b"H200" in ended.stderr


def test_it_can_be_switched_off(engine: Engine, image: str, mounts: tuple[Mount, ...]) -> None:
    ended = run(engine, image, mounts, "echo started", "-DMAJOR=9 -DCRASH=", HALLMARK_GUARD="off")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, b"started\n", b"")


def test_a_driver_that_crashes_takes_nothing_with_it(engine: Engine, image: str, mounts: tuple[Mount, ...]) -> None:
    ended = run(engine, image, mounts, "echo started", "-DMAJOR=12 -DCRASH='__builtin_trap();'")
    assert (ended.exit_code, ended.stdout) == (0, b"started\n") and b"libcuda crashed" in ended.stderr


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [("", 127, b"no command"), ("no-such-command", 127, b"No such file"), ("/", 126, b"Permission denied")],
)
def test_a_command_that_cannot_start_ends_as_a_shell_would(
    command: str, status: int, words: bytes, engine: Engine, image: str, mounts: tuple[Mount, ...]
) -> None:
    ended = run(engine, image, mounts, command, "-DMAJOR=12 -DCRASH=")
    assert ended.exit_code == status and words in ended.stderr
