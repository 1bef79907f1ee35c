"""Slimmed libraries against other people's tools: `python -m tests.slim_oracle [WHEEL_OR_REQUIREMENT ...]`.

Slims every library of every wheel (a file, or a requirement that pip downloads) for 12.0 and 9.0, and then

- `readelf` must warn of nothing that it did not warn of before, and list the same dynamic symbols, table and notes;
- `cuobjdump` must list exactly the entries that were to be kept;
- the loader must load it: in a process of the Python given by `--load`, with torch and its dependencies beside it and a
  libcuda.so.1 that gcc makes of nothing. Where the original does not load there, the error has to be the same.

Prints a table of sizes; exits 1 on any difference. By default about 2 GB to download, one wheel at a time.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scripts.gpucode import Container, read_gpu_code
from scripts.slim.elf.choose import choose_entries
from scripts.slim.elf.library import slim_library
from scripts.slim.wheel.bundled import is_bundled
from tests.gpucode_oracle import (
    WHEELS,
    _install_cuobjdump,
    _libraries,
    _wheel,
    count_with_cuobjdump,
    count_with_reader,
)

TARGETS = ("12.0", "9.0")
_ADDRESSES = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b")
# Functions are bound when they are called: those of libcuda are not there, and sgl-kernel is made for another torch.
# Everything else is done: mapping, data relocations, and the start-up code that registers every container.
_LOAD = "import ctypes, os, sys; ctypes.CDLL(sys.argv[1], os.RTLD_LAZY); print('loaded', flush=True); os._exit(0)"


class Loader:
    """Loads libraries in a process of their own, with torch's dependencies on the path."""

    def __init__(self, python: Path, work: Path) -> None:
        self._python = python
        [site] = python.parent.parent.glob("lib/python3*/site-packages")
        command = ["gcc", "-shared", "-xc", "/dev/null", "-Wl,-soname,libcuda.so.1", "-o", str(work / "libcuda.so.1")]
        subprocess.run(command, check=True)
        folders = [site / "torch/lib", *sorted(site.glob("nvidia/**/lib")), work]
        self._path = ":".join(map(str, folders))

    def load(self, library: Path) -> str:
        """`loaded`, or what the loader says instead, without the path."""
        command = [str(self._python), "-c", _LOAD, str(library)]
        environment = {"LD_LIBRARY_PATH": self._path}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.stdout.startswith("loaded"):
            return "loaded"
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return last.replace(str(library), "it")


def expected(containers: tuple[Container, ...], compute: str) -> tuple[Container, ...]:
    """What has to be left of a file's containers, relocatable ones included."""
    return tuple(
        container
        if container.relocatable
        else replace(
            container,
            entries=tuple(container.entries[index] for index in choose_entries(container.entries, compute)),
        )
        for container in containers
    )


def differences(original: Path, slimmed: Path, compute: str, cuobjdump: Path, loader: Loader | None) -> Iterator[str]:
    """What other tools find wrong with a slimmed library, a line each."""
    wanted = expected(read_gpu_code(original) or (), compute)
    found = read_gpu_code(slimmed) or ()
    if [container.entries for container in found] != [container.entries for container in wanted]:
        yield "the reader finds other entries"
    if count_with_cuobjdump(cuobjdump, slimmed) != count_with_reader(wanted):
        yield f"cuobjdump lists {count_with_cuobjdump(cuobjdump, slimmed)} and not {count_with_reader(wanted)}"
    for warning in sorted(_warnings(slimmed) - _warnings(original)):
        yield f"readelf warns: {warning}"
    for what in ("--dyn-syms", "-d", "-n", "-V"):
        if _readelf(slimmed, what) != _readelf(original, what):
            yield f"readelf {what} is not what it was"
    if loader:
        before, after = loader.load(original), loader.load(slimmed)
        if before != after:
            yield f"the loader says `{after}` and not `{before}`"
        elif after != "loaded":
            print(f"    does not load here, and neither does the original: {after}")


def _warnings(library: Path) -> set[str]:
    """What `readelf` warns of, without the numbers, which are the file's size or offset."""
    done = subprocess.run(["readelf", "-aW", str(library)], capture_output=True, check=True)
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    lines += [line for line in done.stdout.decode("utf-8", "replace").splitlines() if "arning" in line[:40]]
    return {_ADDRESSES.sub("…", line.replace(str(library), "it")) for line in lines}


def _readelf(library: Path, what: str) -> bytes:
    done = subprocess.run(["readelf", "-W", what, str(library)], capture_output=True, check=True)
    # Where a table lies in the file is what may change.
    return re.sub(rb"(at o|O)ffset:? *0x[0-9a-f]+", b"", done.stdout)


def compare(name: str, library: Path, work: Path, cuobjdump: Path, loader: Loader | None) -> Iterator[str]:
    """Slim one library for each target, print a line for each, and yield its first word."""
    for compute in TARGETS:
        slimmed = work / "slimmed.so"
        report = slim_library(library, slimmed, compute)
        if not report.containers:
            return
        wrong = [] if report.untouched else list(differences(library, slimmed, compute, cuobjdump, loader))
        verdict = "DIFFERS" if wrong else "kept" if report.untouched else "same"
        ratio = report.after / report.before
        print(
            f"{verdict:8} {compute:5} {name:55} {report.before / 1e6:7.1f} {report.after / 1e6:7.1f} MB {ratio:5.2f}"
            f" {report.removed:5} of {report.entries:5} entries {report.untouched}",
            flush=True,
        )
        for line in wrong:
            print(f"    {line}")
        slimmed.unlink()
        yield verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheels", nargs="*", default=list(WHEELS), metavar="WHEEL_OR_REQUIREMENT")
    parser.add_argument("--cuobjdump", type=Path, help="use this one (default: pip's)")
    parser.add_argument("--load", type=Path, metavar="PYTHON", help="load libraries with this one, which has torch")
    arguments = parser.parse_args()
    verdicts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hallmark-oracle-") as folder:
        work = Path(folder)
        cuobjdump = arguments.cuobjdump or _install_cuobjdump(work / "tool")
        loader = Loader(arguments.load, work) if arguments.load else None
        for wanted in arguments.wheels:
            with _wheel(wanted, work / "wheel") as wheel:
                print(wheel.name)
                for name, library in _libraries(wheel, work):
                    if not is_bundled(name):
                        verdicts += compare(name, library, work, cuobjdump, loader)
    counts = {verdict: verdicts.count(verdict) for verdict in ("same", "kept", "DIFFERS")}
    print(f"{counts}; {'loaded' if loader else 'not loaded: no --load'}")
    return 0 if counts["same"] and not counts["DIFFERS"] else 1


if __name__ == "__main__":
    sys.exit(main())
