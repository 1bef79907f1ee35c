"""One run of `docker buildx build`: contexts in, an OCI layout out, no network in any step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import requests
from docker.errors import DockerException

from scripts.build.inputs import Inputs
from scripts.build.steps import Step
from scripts.console import Update
from scripts.engine import Engine
from scripts.engine.images import BUILD_ID_LABEL
from scripts.errors import BuildFailed, Undecided
from scripts.oci.layout import Layout

_BUSY = re.compile(r"ref \S+ locked\b.*unavailable")
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_TAIL = 25


def make_command(step: Step, inputs: Inputs, parent: Layout | None, destination: Path, *, cached: bool) -> list[str]:
    """The arguments of the docker CLI for a step. Nothing in them depends on the checkout but the paths."""
    command = ["buildx", "build", "--builder", "default", "--progress", "plain", "--network", "none"]
    command += ["--provenance=false", "--sbom=false"]
    for key, value in make_arguments(step).items():
        command += ["--build-arg", f"{key}={value}"]
    command += ["--build-context", f"inputs={inputs.inputs}", "--build-context", f"tools={inputs.tools}"]
    if parent:
        command += ["--build-context", f"parent=oci-layout://{parent.folder}@{parent.digest}"]
    for key, value in sorted(make_labels(step, parent).items()):
        command += ["--label", f"{key}={value}"]
    if not cached:
        command.append("--no-cache")
    return [*command, "--output", f"{make_output(step)},dest={destination}", str(inputs.context)]


def run_build(engine: Engine, command: Sequence[str], log: Path, update: Update) -> None:
    """Run the build; its output goes to `log`. Raises BuildFailed with its end; Undecided if the engine died."""
    for attempt in (1, 2):
        code = engine.spawn(list(command), log, update)
        if code == 0:
            return
        text = log.read_text(errors="replace")
        # Two exports that share a base can get in each other's way; the second attempt finds everything cached.
        if attempt == 1 and _BUSY.search(text):
            continue
        break
    tail = "\n".join(f"    {line}" for line in text.splitlines()[-_TAIL:])
    if _FULL.search(text):
        raise Undecided(f"the disk filled up during the build:\n{tail}", str(log), "free some space: `nox -s clean`")
    if not _answers(engine):
        raise Undecided(f"the engine died during the build:\n{tail}", str(log), "run the same command again")
    raise BuildFailed(f"docker buildx build ended with exit code {code}:\n{tail}", str(log), "read the log")


def _answers(engine: Engine) -> bool:
    try:
        engine.client.ping()
    except (DockerException, requests.RequestException):
        return False
    return True


def make_output(step: Step) -> str:
    """How a build is exported, without where to.

    zstd halves the time of an export and saves a seventh of the bytes, and engines have read it since Docker 23; gzip
    is for a registry that does not take it.
    """
    return f"type=oci,tar=false,rewrite-timestamp=true,compression={step.compression},force-compression=true"


def make_arguments(step: Step) -> dict[str, str]:
    """What a Dockerfile may declare with ARG: the time that files get, and its program's arguments if there are any."""
    return {"SOURCE_DATE_EPOCH": str(step.epoch)} | ({"ARGUMENTS": step.arguments} if step.arguments else {})


def make_labels(step: Step, parent: Layout | None) -> dict[str, str]:
    """The image's labels: those of its step, its build id, its time, and its parent's digest once that is known."""
    labels = step.labels | {BUILD_ID_LABEL: step.build_id}
    created = datetime.fromtimestamp(step.epoch, UTC)
    labels["org.opencontainers.image.created"] = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    if parent and step.parent:
        labels["org.opencontainers.image.base.name"] = f"hallmark/{step.parent.name}"
        labels["org.opencontainers.image.base.digest"] = parent.digest
    return labels
