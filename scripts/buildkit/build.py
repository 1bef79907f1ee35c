"""One build: contexts in, an OCI layout out, and no network in any step."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, NoReturn

from scripts.buildkit.builder import Builder, BuilderLost
from scripts.buildkit.progress import KEPT, Describe, Progress
from scripts.console import Update
from scripts.errors import BuildFailed, Undecided
from scripts.files import naming_disk_full

ATTEMPTS = 2
_BUSY = re.compile(r"ref \S+ locked\b.*unavailable")
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)


@dataclass(frozen=True)
class Build:
    """What to build: `context` with its Dockerfile (or another `dockerfile`), and named contexts (a folder, or
    `oci-layout://FOLDER@DIGEST`); build arguments and the image's labels, by name; the folder of what comes out.

    That is the image as an OCI layout, or with `export = "local"` the files of its last stage as they are.
    """

    context: Path
    contexts: Mapping[str, str]
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    destination: Path
    compression: str = "zstd"
    cached: bool = True
    dockerfile: Path | None = None
    export: Literal["oci", "local"] = "oci"


@dataclass(frozen=True)
class _Attempt:
    """One run: its log, its exit code, and the lines that explain a failure."""

    log: Path
    code: int
    failure: list[str]

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def reason(self) -> list[str]:
        return self.failure or self.text.splitlines()[-KEPT:]


def make_command(build: Build) -> list[str]:
    """The arguments of `docker buildx` for a build. They are the same for equal builds, in whatever order it was given.

    Provenance would make each build's index another one; it is attached afterwards.
    """
    command = ["build", "--progress", "rawjson", "--network", "none", "--provenance=false", "--sbom=false"]
    if build.dockerfile:
        command += ["--file", str(build.dockerfile)]
    for option, values in (
        ("--build-arg", build.arguments),
        ("--build-context", build.contexts),
        ("--label", build.labels),
    ):
        for name, value in sorted(values.items()):
            command += [option, f"{name}={value}"]
    if not build.cached:
        command.append("--no-cache")
    output = make_output(build.compression) if build.export == "oci" else "type=local"
    return [*command, "--output", f"{output},dest={build.destination}", str(build.context)]


def make_output(compression: str) -> str:
    """How a build is exported, without where to.

    zstd halves the time of an export and saves a seventh of the bytes, and engines have read it since Docker 23; gzip
    is for a registry that does not take it.
    """
    return f"type=oci,tar=false,rewrite-timestamp=true,compression={compression},force-compression=true"


def run_build(builder: Builder, build: Build, log: Path, update: Update, describe: Describe | None = None) -> None:
    """Run a build into its destination, which is emptied first. What it prints goes to `log`, readable.

    `describe` turns a line of a step's output into what is shown of the build. A second attempt has a log of its own
    (`build.2.log`), and so has one in another builder than the first. Raises BuildFailed with what the failed step
    said, and Undecided where the surroundings failed: a full disk, a builder that died, a `docker` that was killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    for path in (log, *log.parent.glob(f"{log.stem}.[0-9]*{log.suffix}")):
        path.unlink(missing_ok=True)
    failures = 0
    for number in count(1):
        path = log if number == 1 else log.with_name(f"{log.stem}.{number}{log.suffix}")
        try:
            attempt = _attempt(builder, build, path, update, describe)
        except BuilderLost:  # each time there is one less, and without another one it is not raised
            continue
        if attempt.code == 0:
            return
        failures += 1
        # Two exports that share a base can get in each other's way; the second attempt finds everything cached.
        if failures == ATTEMPTS or not _BUSY.search(attempt.text):
            _explain(builder, attempt)


def _attempt(builder: Builder, build: Build, log: Path, update: Update, describe: Describe | None) -> _Attempt:
    shutil.rmtree(build.destination, ignore_errors=True)  # an export into a layout would add to it
    progress = Progress(describe)
    shown = ""
    with naming_disk_full(log), log.open("w", buffering=1, encoding="utf-8", errors="replace") as stream:

        def follow(line: str) -> None:
            nonlocal shown
            stream.writelines(f"{each}\n" for each in progress.feed(line))
            if progress.text not in ("", shown):
                shown = progress.text
                update(shown)

        try:
            code = builder.run(make_command(build), follow)
        finally:
            stream.writelines(f"{each}\n" for each in progress.end())
    return _Attempt(log, code, progress.failure)


def _explain(builder: Builder, attempt: _Attempt) -> NoReturn:
    place, reason = str(attempt.log), attempt.reason
    if _FULL.search(attempt.text):
        cause = f"the disk filled up during the build ({builder.where})"
        raise Undecided(cause, place, "free some space: `nox -s clean`", reason)
    if not builder.answers():
        cause = f"{builder.where} does not answer after the build failed"
        raise Undecided(
            cause, place, "see that it runs (`nox -s engine -- status`), then run the same command again", reason
        )
    if attempt.code < 0:
        cause = f"docker buildx was killed by signal {-attempt.code}"
        raise Undecided(cause, place, "run the same command again", reason)
    raise BuildFailed(f"docker buildx build ended with exit code {attempt.code}", place, "read the log", reason)
