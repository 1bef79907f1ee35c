"""Byte code of distributions, made by the base image's own Python in a container, and kept by what it was made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from scripts.assemble.tree import Entry, bytecode_path, make_file
from scripts.assemble.venv import site_packages
from scripts.assemble.wheel import WheelFiles
from scripts.engine import Engine
from scripts.engine.images import has_image, load_layout
from scripts.engine.sandbox import Mount, Request, open_sandbox
from scripts.errors import Undecided
from scripts.files import content_id, naming_disk_full, sha256_file
from scripts.oci.layout import Layout
from scripts.zips import ZipReader

PROGRAM = Path(__file__).with_name("byte_compile.py")
TIMEOUT_S = 1800
MEMORY = 4 << 30


class Compiler(Protocol):
    """Turns a folder of sources, one folder in it for each distribution, into archives of byte code named after these.

    `prefix` is where the sources lie in an image. `done` is told each name as its archive is complete. Raises Undecided
    where one cannot be made.
    """

    def __call__(self, sources: Path, results: Path, prefix: str, done: Callable[[str], None]) -> None: ...


class SandboxCompiler:
    """Compiles in a container of an image, with its `python3`; the engine gets the image when it is first needed."""

    def __init__(self, engine: Engine, layout: Layout) -> None:
        self._engine, self._layout, self._digest = engine, layout, layout.digest

    def __call__(self, sources: Path, results: Path, prefix: str, done: Callable[[str], None]) -> None:
        if not has_image(self._engine, self._digest):
            load_layout(self._engine, self._layout.folder, self._digest)
        # -S, -s and -P: nothing of the image but the interpreter takes part. A fixed seed: sets of constants are
        # written in the order of their hashes.
        program = ("python3", "-S", "-s", "-P", "-B", "/hallmark/byte_compile.py", "/sources", "/results", prefix)
        request = Request(
            image=self._digest,
            command=(*program, str(os.cpu_count() or 1)),
            label="io.hallmark.bytecode",
            memory=MEMORY,
            timeout_s=TIMEOUT_S,
            mounts=(
                Mount(PROGRAM, "/hallmark/byte_compile.py"),
                Mount(sources, "/sources"),
                Mount(results, "/results", writable=True),
            ),
            environment={"PYTHONHASHSEED": "0"},
            user=f"{os.getuid()}:{os.getgid()}",  # what it writes is ours
        )

        def follow(line: bytes) -> None:
            word, _, name = line.decode(errors="replace").partition(" ")
            if word == "done":
                done(name)

        with self._engine.explaining(), open_sandbox(self._engine, request) as sandbox:
            ending = sandbox.run(follow)
        if not ending.succeeded:
            end = "for memory" if ending.oom else "for time" if ending.timed_out else f"with {ending.exit_code}"
            cause = f"the container ended {end}: {ending.stderr.decode(errors='replace')[-500:].strip()}"
            raise Undecided(f"byte code could not be made: {cause}", self._digest, "run the same command again")


class ByteCode:
    """The byte code of wheels for Python X.Y of one exact build, an archive each, in a folder that checkouts share."""

    def __init__(self, kept: Path, python: str, build: str) -> None:
        self._kept, self._python, self._build = kept, python, build
        self._program = sha256_file(PROGRAM)

    def make(
        self, wheels: Mapping[str, WheelFiles], work: Path, compiler: Compiler, done: Callable[[str], None]
    ) -> None:
        """Make what is missing of these wheels' byte code (by the wheel's SHA-256); `done` is told each that is there.

        `work` is a folder of this call's own. Raises Undecided.
        """
        missing = {}
        for sha256, wheel in wheels.items():
            if not wheel.sources or self._path(sha256).is_file():
                done(sha256)
            else:
                missing[sha256] = wheel
        if not missing:
            return
        sources, results = work / "sources", work / "bytecode"
        results.mkdir(parents=True)
        for sha256, wheel in missing.items():
            self._lay_out(wheel, sources / sha256)

        kept: set[str] = set()

        def keep(sha256: str) -> None:
            path = self._path(sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            (results / f"{sha256}.zip").replace(path)
            kept.add(sha256)
            done(sha256)

        compiler(sources, results, f"/{site_packages(self._python)}", keep)
        if lost := missing.keys() - kept:  # its line was lost, say on a full disk: whoever waits for it would for ever
            names = ", ".join(sorted(missing[sha256].name for sha256 in lost))
            raise Undecided(f"no byte code came of {names}", str(results), "run the same command again")

    def read(self, sha256: str, wheel: WheelFiles) -> list[Entry]:
        """The byte code of a wheel as files of the image. Raises Undecided for an archive that holds anything else."""
        if not wheel.sources:
            return []
        expected = {bytecode_path(source, self._python) for source in wheel.sources}
        archive = ZipReader(self._path(sha256))
        entries = []
        for member in archive.members.values():
            path = f"{site_packages(self._python)}/{member.name}"
            if path not in expected:
                raise Undecided(
                    f"byte code of nothing that {wheel.name} has: {member.name}", str(archive.path), "report this"
                )
            entries.append(make_file(path, archive.read(member)))
        return entries

    def _path(self, sha256: str) -> Path:
        key = content_id({"wheel": sha256, "python": [self._python, self._build], "program": self._program})
        return self._kept / key[:2] / f"{key}.zip"

    def _lay_out(self, wheel: WheelFiles, folder: Path) -> None:
        top, wanted = f"{site_packages(self._python)}/", set(wheel.sources)
        for entry in wheel.entries:
            if entry.path in wanted:
                path = folder / entry.path.removeprefix(top)
                path.parent.mkdir(parents=True, exist_ok=True)
                with naming_disk_full(path):
                    path.write_bytes(entry.read())
