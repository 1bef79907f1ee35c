"""The reader of GPU code against NVIDIA's own: `python -m tests.gpucode_oracle [WHEEL_OR_REQUIREMENT ...]`.

For every shared object of every wheel (a file, or a requirement that pip downloads) the number of pieces of GPU code
per kind and architecture has to be what `cuobjdump` lists. Prints a line per library with both times in seconds; exits
1 on any difference. By default the wheels that the images are made of: about 2 GB to download, one at a time.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.gpucode import Container, read_gpu_code

WHEELS = ("torch==2.10.0", "vllm==0.19.1", "sgl-kernel==0.3.21")
CUOBJDUMP = "nvidia-cuda-cuobjdump"
# Each glibc up to Debian 12's by itself: pip takes none of them to imply another.
PLATFORMS = ["manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 37))]

_LISTED = re.compile(r"(?:ELF|PTX) file +[0-9]+: .*\.sm_([0-9]+[af]?)\.(cubin|ptx)")
_KINDS = {"cubin": "sass", "ptx": "ptx"}

Counts = dict[str, int]


def count_with_reader(containers: tuple[Container, ...]) -> Counts:
    """How many entries of each kind and architecture there are, as far as cuobjdump can tell them apart.

    It takes a family's SASS for the architecture's own (sm_120f is listed as sm_120), and lists no LTO IR.
    """
    return _sorted(
        f"{entry.kind} {entry.arch.removesuffix('f') if entry.kind == 'sass' else entry.arch}"
        for container in containers
        for entry in container.entries
        if entry.kind != "other"
    )


def count_with_cuobjdump(cuobjdump: Path, library: Path) -> Counts:
    """The same counts, by cuobjdump. Raises RuntimeError when it says something else than a list."""
    # Without -all it leaves out relocatable code wherever there is linked code, too.
    command = [str(cuobjdump), "-all", "-lelf", "-lptx", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "does not contain device code" in done.stdout + done.stderr:
        return {}
    if done.returncode:
        raise RuntimeError(f"{library.name}: cuobjdump ended with {done.returncode}: {done.stderr.strip()}")
    listed = [line for line in done.stdout.splitlines() if line.strip()]
    matches = [_LISTED.fullmatch(line.strip()) for line in listed]
    if not all(matches):
        raise RuntimeError(f"{library.name}: cuobjdump said: {listed[matches.index(None)]}")
    return _sorted(f"{_KINDS[match[2]]} {match[1]}" for match in matches if match)


def _sorted(names: Iterator[str]) -> Counts:
    return dict(sorted(Counter(names).items()))


def compare(cuobjdump: Path, name: str, library: Path) -> bool:
    """Print one library's line, and what differs if anything does; whether nothing does."""
    before = time.perf_counter()
    containers = read_gpu_code(library) or ()
    between = time.perf_counter()
    theirs = count_with_cuobjdump(cuobjdump, library)
    after = time.perf_counter()
    ours = count_with_reader(containers)
    times = (between - before, after - between)
    megabytes = library.stat().st_size / 1e6
    print(
        f"{'same ' if ours == theirs else 'DIFFERS'} {name:60} {megabytes:7.1f} MB {len(containers):4} containers"
        f" {sum(ours.values()):5} entries {times[0]:8.4f} s {times[1]:8.3f} s {times[1] / times[0]:7.0f} x",
        flush=True,
    )
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            print(f"    {key}: {ours.get(key, 0)} read, {theirs.get(key, 0)} by cuobjdump")
    return ours == theirs


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheels", nargs="*", default=list(WHEELS), metavar="WHEEL_OR_REQUIREMENT")
    parser.add_argument("--cuobjdump", type=Path, help=f"use this one (default: pip's {CUOBJDUMP})")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hallmark-oracle-") as folder:
        work = Path(folder)
        cuobjdump = arguments.cuobjdump or _install_cuobjdump(work / "tool")
        same = []
        for wanted in arguments.wheels:
            with _wheel(wanted, work / "wheel") as wheel:
                print(f"{wheel.name}: reader, cuobjdump, ratio")
                same += [compare(cuobjdump, name, library) for name, library in _libraries(wheel, work)]
    print(f"{len(same)} libraries, {same.count(False)} differ")
    return 0 if same and all(same) else 1


def _install_cuobjdump(folder: Path) -> Path:
    _pip("install", "--no-deps", "--target", str(folder), CUOBJDUMP)
    [tool] = folder.glob("**/bin/cuobjdump")
    tool.chmod(0o755)
    return tool


@contextmanager
def _wheel(wanted: str, folder: Path) -> Iterator[Path]:
    """The wheel itself if it is a file, else the one that pip finds; a downloaded one is deleted after use."""
    if wanted.endswith(".whl"):
        yield Path(wanted)
        return
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    _pip("download", "--no-deps", "--only-binary=:all:", "--python-version=3.11", *platforms, "-d", str(folder), wanted)
    try:
        [wheel] = folder.iterdir()
        yield wheel
    finally:
        shutil.rmtree(folder)


def _libraries(wheel: Path, work: Path) -> Iterator[tuple[str, Path]]:
    """Each shared object of a wheel, as a file that exists until the next one is asked for."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if re.search(r"\.so(\.[0-9.]+)?$", name):
                library = work / "library.so"
                with archive.open(name) as source, library.open("wb") as destination:
                    shutil.copyfileobj(source, destination, 1 << 20)
                yield name, library
                library.unlink()


def _pip(*arguments: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    subprocess.run([sys.executable, "-m", "pip", *arguments, *quiet], check=True)


if __name__ == "__main__":
    sys.exit(main())
