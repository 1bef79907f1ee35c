"""Make the fixtures beside this file, and counts.json: `python -m tests.data.gpucode.make` in the repository's root.

Needs nvcc 13.0 (as packages: nvidia-cuda-nvcc, nvidia-nvvm, nvidia-cuda-crt, nvidia-cuda-runtime and nvidia-cuda-cccl,
all ==13.0.*), gcc, and cuobjdump (nvidia-cuda-cuobjdump) on the PATH. Unit tests read what it made and run none of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.gpucode_oracle import count_with_cuobjdump

HERE = Path(__file__).parent
SMALL = 'extern "C" __global__ void scale(float *x) { x[threadIdx.x] *= 2.0f; }\n'
OTHER = 'extern "C" __global__ void shift(float *x) { x[threadIdx.x] += 1.0f; }\n'


def gencode(arch: str, *kinds: str) -> str:
    return f"-gencode=arch=compute_{arch},code=[{','.join(f'{kind}_{arch}' for kind in kinds)}]"


BOTH = ("sm", "compute")
SHARED = ("-shared", "-cudart=none", "-Xlinker=-s,-z,noseparate-code", "-Xcompiler=-fPIC")
ALL = ("-Xfatbin=-compress-all",)  # by itself a mode compresses no machine code, or only small pieces of it

# Name → (sources, options of nvcc).
FIXTURES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "plain.so": ((SMALL,), (*SHARED, "-compress-mode=none", gencode("90", *BOTH), gencode("120", *BOTH))),
    "specific.so": ((SMALL,), (*SHARED, gencode("90a", *BOTH), gencode("120a", *BOTH))),
    "family.so": ((SMALL,), (*SHARED, gencode("100f", "sm"), gencode("120f", *BOTH))),
    "lz4.so": ((SMALL,), (*SHARED, *ALL, "-compress-mode=speed", gencode("90", *BOTH), gencode("120a", "sm"))),
    "zstd.so": ((SMALL,), (*SHARED, *ALL, "-compress-mode=size", gencode("90", "sm"), gencode("120f", *BOTH))),
    "several.so": ((SMALL, OTHER), (*SHARED, "-compress-mode=size", gencode("80", "sm"), gencode("120", "compute"))),
    "relocatable.o": ((SMALL,), ("-dc", gencode("90", "sm", "compute", "lto"))),
}


def main() -> None:
    counts = {}
    cuobjdump = Path(shutil.which("cuobjdump") or sys.exit("cuobjdump is not on the PATH"))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, (sources, options) in FIXTURES.items():
            files = [work / f"{index}.cu" for index, _ in enumerate(sources)]
            for file, source in zip(files, sources, strict=True):
                file.write_text(source)
            run("nvcc", *options, "-o", str(HERE / name), *map(str, files))
        # Relocatable code together with what the device linker made of it.
        link = ("-Xcompiler=-fPIC", gencode("90", "sm"))
        (work / "0.cu").write_text(SMALL)
        run("nvcc", "-dc", *link, "-o", str(work / "code.o"), str(work / "0.cu"))
        run("nvcc", "-dlink", *link, "-o", str(work / "linked.o"), str(work / "code.o"))
        objects = (str(work / "code.o"), str(work / "linked.o"))
        run("gcc", "-shared", "-s", "-Wl,-z,noseparate-code", "-o", str(HERE / "linked.so"), *objects)
        (work / "host.c").write_text("int answer(void) { return 42; }\n")
        run("gcc", "-shared", "-s", "-nostdlib", "-o", str(HERE / "host.so"), str(work / "host.c"))
    for path in sorted(HERE.glob("*.*o")):
        path.chmod(0o644)
        counts[path.name] = count_with_cuobjdump(cuobjdump, path)
    (HERE / "counts.json").write_text(json.dumps(counts, indent=2) + "\n")


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
