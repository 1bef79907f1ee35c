"""What a compile step costs beside the same build run bare: python -m tests.benchmarks.compile …

    --units N        how many CUDA units are compiled (default: 32; a few seconds each)

The units are generated, the environment is the workshop's with the real compilers. Bare is the same build script in a
container of the same image, in which Ninja starts as many compilers as there are cores, without ccache. The step runs
twice: with nothing kept from before, and with a warm ccache and an empty BuildKit cache. Its wheels must be the same.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.assemble.types import CompileStep
from scripts.engine.images import load_layout
from scripts.engine.sandbox import Mount, Request, open_sandbox
from scripts.errors import BuildFailed
from scripts.files import sha256_file
from scripts.oci.layout import Layout
from scripts.pipeline import Bench, open_bench
from scripts.pipeline.obtain import obtain_image
from scripts.project import Project
from scripts.report.table import print_table
from tests.integration.conftest import find_step, share_base
from tests.unit.builders import REPOSITORY_ROOT
from tests.workshop import CELL, HERE, write_workshop

_GIB = 1 << 30
_UNIT = """#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>
extern "C" int sort{number}(void *room, size_t &bytes, {type} *from, {type} *to, int count) {{
  cub::DeviceRadixSort::SortKeys(room, bytes, from, to, count);
  return cub::DeviceReduce::Sum(room, bytes, from, to, count);
}}
"""
_TYPES = ("int", "unsigned", "float", "double", "short", "char", "long long", "unsigned char")
# What the step does before and after the build script is its own; the script and its settings are the same.
_BARE = """set -eu
cp -r /sources /tmp/src
cd /tmp/src
mkdir /tmp/wheels
export HOME=/tmp WHEELS=/tmp/wheels MAX_JOBS=$(nproc)
export NVCC_APPEND_FLAGS=-objtemp CMAKE_LIBRARY_PATH=/usr/local/lib/cuda-stubs
sh /component/build
"""


def main() -> None:
    """Print a row for each way, with its time as a ratio to the bare build's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=32)
    options = parser.parse_args()
    checkout = Project.open(REPOSITORY_ROOT)
    own = open_bench(checkout)
    engine = own.engine
    with tempfile.TemporaryDirectory(prefix="hallmark-benchmark-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        source = write_units(folder / "source", options.units)
        write_workshop(folder / "project", folder / "wheels", source)
        site = {"DOCKER_HOST": engine.host, "HALLMARK_ENGINE": "host", "HALLMARK_WHEELS": str(folder / "wheels")}
        for variable, value in {**engine.environment, **site}.items():
            patch.setenv(variable, value)
        project = Project.open(folder / "project")
        share_base(checkout, project)
        step = find_step(project, CELL).compiled[0]
        print_table(("way", "time", "ratio"), measure(open_bench(project), step, source, own.builder.prune))


def write_units(folder: Path, count: int) -> Path:
    """The workshop's sources, and units beside them that each take a compiler some seconds."""
    shutil.copytree(HERE / "source", folder)
    for number in range(count):
        (folder / f"sort{number}.cu").write_text(_UNIT.format(number=number, type=_TYPES[number % len(_TYPES)]))
    return folder


def measure(bench: Bench, step: CompileStep, source: Path, prune: Callable[[], None]) -> list[tuple[str, str, str]]:
    """Rows of a table: the bare build and the step's; `prune` empties BuildKit's cache, and leaves ccache's.

    Raises BuildFailed where a wheel's bytes differ.
    """
    environment = obtain_image(bench, step.environment)
    load_layout(bench.engine, environment.folder, environment.digest)
    bench.fetch_sources([step])
    wheels: set[str] = set()

    def compile_step(cached: bool) -> Callable[[], None]:
        def run() -> None:
            with bench.workspace.claim("benchmark") as work:
                made = bench.compile(step, environment, work, work / "log", lambda _: None, cached=cached)
                wheels.add(sha256_file(made.path))

        return run

    times = {
        "Ninja alone": take(lambda: run_bare(bench, step, environment, source)),
        "step, nothing kept": take(compile_step(cached=False)),
    }
    prune()
    times["step, warm ccache"] = take(compile_step(cached=True))
    if len(wheels) != 1:
        raise BuildFailed("the step's wheels are not the same bytes", step.name)
    return [(way, f"{seconds:.1f} s", f"{seconds / times['Ninja alone']:.2f}") for way, seconds in times.items()]


def take(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def run_bare(bench: Bench, step: CompileStep, environment: Layout, source: Path) -> None:
    """The component's build script in a container of the environment, on a copy of the sources."""
    request = Request(
        image=environment.digest,
        command=("sh", "-c", _BARE),
        label="io.hallmark.benchmark",
        memory=16 * _GIB,
        timeout_s=3600,
        mounts=(Mount(source, "/sources"), Mount(step.component.folder, "/component")),
        environment=step.variables,
        tmpfs={"/tmp": 8 * _GIB},
        pids=4096,
    )
    source.parent.chmod(0o755)  # the container's user is another
    with open_sandbox(bench.engine, request) as sandbox:
        ending = sandbox.run()
    if not ending.succeeded:
        raise BuildFailed(f"the bare build failed:\n{ending.stdout.decode()}{ending.stderr.decode()}", step.name)


if __name__ == "__main__":
    main()
