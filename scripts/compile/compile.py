"""One compile step: contexts in, one wheel out, checked for being the one that was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scripts.assemble.types import CompileStep
from scripts.buildkit.build import Build, run_build
from scripts.buildkit.builder import Builder
from scripts.compile.advice import advise, find_relevant
from scripts.compile.check import find_wheel
from scripts.compile.context import lay_out
from scripts.compile.ninja import Units
from scripts.console import Update
from scripts.errors import BuildFailed
from scripts.fetch import Cache
from scripts.oci.layout import Layout

_OUTPUT = re.compile(r"^#\d+ ")  # which step of the Dockerfile a line of the log is of


@dataclass(frozen=True)
class MadeWheel:
    """A wheel that has just been compiled, and its full version, local part and all."""

    path: Path
    version: str


def compile_wheel(
    step: CompileStep,
    environment: Layout,
    builder: Builder,
    cache: Cache,
    program: Path,
    work: Path,
    log: Path,
    update: Update,
    *,
    cached: bool = True,
) -> MadeWheel:
    """Compile a step's wheel in its environment, somewhere under `work`, which is empty.

    `program` is the folder of what all steps share, `log` gets the build's whole output. Without `cached` nothing is
    taken from an earlier build, neither BuildKit's nor the compilers'. Raises BuildFailed, with what explains it and
    advice, and Undecided where it is the builder or the disk that failed.
    """
    update("laying out the sources")
    made = lay_out(step, program, cache, work, {} if cached else {"CCACHE_RECACHE": "1"})
    build = Build(
        context=made.program,
        contexts={
            "environment": f"oci-layout://{environment.folder}@{environment.digest}",
            "component": str(made.component),
            "sources": str(made.sources),
        },
        arguments={},
        labels={},
        destination=work / "wheels",
        cached=cached,
        export="local",
    )
    try:
        run_build(builder, build, log, update, Units().follow)
    except BuildFailed as error:
        raise _explain(error, log) from error
    name, version, python = step.component.distribution, step.component.version, step.environment.python_line
    return MadeWheel(*find_wheel(build.destination, name, version, python, str(log)))


def _explain(error: BuildFailed, log: Path) -> BuildFailed:
    """The failure with the lines of the log that tell what went wrong, and advice where it is a known one."""
    try:
        lines = [_OUTPUT.sub("", line) for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return error
    relevant = find_relevant(lines)
    return BuildFailed("it could not be compiled", str(log), advise(relevant) or "read the log", relevant)
