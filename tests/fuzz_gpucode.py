"""Fuzz the reader of GPU code: `python -m tests.fuzz_gpucode [SECONDS]` (60 unless given), from the fixtures on.

Each input is read as a whole file and as the contents of a section of a sound one. Any exception but GpuCodeError, an
answer that does not fit into the file, more than five seconds or more than 1 GiB ends the run with an exit code that is
not 0, and the input is kept.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path

try:
    atheris = importlib.import_module("atheris")
except ImportError:
    sys.exit("atheris is missing, and the project does not depend on it: pip install atheris")

with atheris.instrument_imports(include=["scripts.gpucode"]):
    from scripts.gpucode import GpuCodeError, parse_gpu_code, runs_on

from tests.unit.gpucode import FIXTURES, make_container, make_elf


def read_all(data: bytes) -> None:
    """One input of the fuzzer. Raises whatever the reader should not have."""
    in_container = make_container([data])
    for file in (data, make_elf([(".nv_fatbin", data)]), make_elf([("__nv_relfatbin", in_container)])):
        try:
            containers = parse_gpu_code(file, "fuzzed")
        except GpuCodeError:
            continue
        for container in containers or ():
            stored = sum(64 + entry.stored_size for entry in container.entries)
            if not 0 < container.offset <= len(file) - 16 - stored:
                raise AssertionError(f"{container} is larger than the file")
            for entry in container.entries:
                runs_on(entry.arch, entry.kind, "12.0")


def write_seeds(folder: Path) -> None:
    """The fixtures, and each of their containers and its entries by themselves."""
    for path in sorted(FIXTURES.glob("*.*o")):
        data = path.read_bytes()
        (folder / path.name).write_bytes(data)
        for container in parse_gpu_code(data, path.name) or ():
            size = int.from_bytes(data[container.offset + 8 : container.offset + 16], "little")
            body = data[container.offset : container.offset + 16 + size]
            (folder / f"{path.name}-container").write_bytes(body)
            (folder / f"{path.name}-entries").write_bytes(body[16:])


def main() -> int:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory(prefix="hallmark-fuzz-") as folder:
        write_seeds(Path(folder))
        child = os.fork()  # for the fuzzer ends the process that it runs in, and the folder would stay
        if not child:
            limits = [f"-max_total_time={seconds}", "-timeout=5", "-rss_limit_mb=1024", "-max_len=20000"]
            kept = f"-artifact_prefix={tempfile.gettempdir()}/hallmark-fuzz-"
            atheris.Setup([sys.argv[0], *limits, kept, "-print_final_stats=1", folder], read_all)
            atheris.Fuzz()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
