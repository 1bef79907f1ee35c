"""Makes byte code with the Python that it runs under: this runs inside the base image, on its standard library alone.

    byte_compile.py SOURCES RESULTS PREFIX JOBS

SOURCES has one folder for each distribution, with its sources at their paths under PREFIX; RESULTS gets one archive for
each, with its byte code. Each distribution is compiled in a forked process of its own: what `marshal` shares between
constants depends on all that a process has compiled before, and the byte code of a distribution must not depend on its
neighbours. A line of standard output names each that is done.
"""

from __future__ import annotations

import os
import sys
import warnings
import zipfile
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined]
from importlib.util import cache_from_source, source_hash

_UNCHECKED = False  # the sources of an image do not change, so looking at them would be for nothing
_RECURSION = 20_000  # generated modules nest deeply


def main(sources: str, results: str, prefix: str, jobs: int) -> int:
    """Compile every distribution, `jobs` at a time; the exit code is 1 where one of the processes failed."""
    waiting = sorted(os.scandir(sources), key=lambda folder: (-_weigh(folder.path), folder.name))
    running: dict[int, str] = {}
    failed = False
    while waiting or running:
        while waiting and len(running) < jobs:
            folder = waiting.pop(0)
            child = os.fork()
            if not child:
                _compile_and_exit(folder.path, f"{results}/{folder.name}.zip", prefix)
            running[child] = folder.name
        child, status = os.wait()
        name = running.pop(child)
        failed = failed or bool(status)
        print(f"{'failed' if status else 'done'} {name}", flush=True)
    return 1 if failed else 0


def compile_folder(folder: str, archive: str, prefix: str) -> None:
    """Byte code of each source under a folder, in order; what is not Python (a template, say) gets none."""
    with zipfile.ZipFile(archive, "w") as results:
        for path in sorted(_walk(folder)):
            name = path[len(folder) + 1 :]
            with open(path, "rb") as stream:  # noqa: PTH123  pathlib is one more module in every process
                data = stream.read()
            try:
                code = compile(data, f"{prefix}/{name}", "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError):
                continue
            results.writestr(
                zipfile.ZipInfo(cache_from_source(name)), _code_to_hash_pyc(code, source_hash(data), _UNCHECKED)
            )


def _compile_and_exit(folder: str, archive: str, prefix: str) -> None:
    """What a forked process does; settings of a whole process are made here, in one that ends."""
    code = 1
    sys.setrecursionlimit(_RECURSION)
    warnings.simplefilter("ignore")  # of odd escapes and the like: upstream's business
    try:
        compile_folder(folder, archive, prefix)
        code = 0
    except Exception as error:
        print(f"{folder}: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _walk(folder: str) -> list[str]:
    return [f"{top}/{name}" for top, _, names in os.walk(folder) for name in names if name.endswith(".py")]


def _weigh(folder: str) -> int:
    return sum(os.path.getsize(path) for path in _walk(folder))  # noqa: PTH202


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
